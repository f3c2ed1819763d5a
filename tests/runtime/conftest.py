"""Ray's tests are collected where Ray is installed: `make test-ray`."""

from importlib.util import find_spec

collect_ignore = [] if find_spec("ray") else ["test_ray.py"]
