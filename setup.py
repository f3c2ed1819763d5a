"""Builds featcodec._core with CMake; everything else about the package is in pyproject.toml."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pybind11
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext


class CMakeExtension(Extension):
    """A module whose sources CMakeLists.txt knows."""

    def __init__(self, name: str) -> None:
        super().__init__(name, sources=[])


class CMakeBuild(build_ext):
    """Configure and build with CMake; the finished module lands where setuptools wants it."""

    def build_extension(self, ext: Extension) -> None:
        """Build one module."""
        target = Path(self.get_ext_fullpath(ext.name)).resolve()
        build = Path(self.build_temp).resolve()
        build.mkdir(parents=True, exist_ok=True)
        # pip builds in a fresh environment each time: a cache would name a ninja and a pybind11 that are gone
        (build / "CMakeCache.txt").unlink(missing_ok=True)
        werror = "ON" if os.environ.get("FEATCODEC_WERROR") == "1" else "OFF"
        configure = [
            "cmake",
            "-S",
            str(Path(__file__).resolve().parent),
            "-B",
            str(build),
            "-DCMAKE_BUILD_TYPE=Release",
            f"-DCMAKE_LIBRARY_OUTPUT_DIRECTORY={target.parent}",
            f"-DCMAKE_LIBRARY_OUTPUT_DIRECTORY_RELEASE={target.parent}",
            f"-DPython_EXECUTABLE={sys.executable}",
            f"-Dpybind11_DIR={pybind11.get_cmake_dir()}",
            f"-DFEATCODEC_WERROR={werror}",
        ]
        if sys.platform != "win32":
            configure += ["-G", "Ninja"]
        subprocess.run(configure, check=True)
        subprocess.run(["cmake", "--build", str(build), "--config", "Release", "--target", "_core"], check=True)


setup(ext_modules=[CMakeExtension("featcodec._core")], cmdclass={"build_ext": CMakeBuild})
