"""``featcodec serve``: tails from files behind gRPC, until SIGTERM or SIGINT; what was accepted is then answered first."""

from __future__ import annotations

import argparse
import importlib
import logging
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import fields
from functools import partial
from pathlib import Path
from threading import Event
from typing import Any

import torch

from featcodec.errors import FeatcodecError, MissingDependencyError
from featcodec.parts import Tail, load_part
from featcodec.runtime.limits import Limits
from featcodec.runtime.security import Tls
from featcodec.runtime.served import Served
from featcodec.runtime.server import Server


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return the exit status."""
    parser = _parser()
    args = parser.parse_args(argv)
    logging.basicConfig(format="%(message)s", stream=sys.stderr, level=args.log.upper())
    try:
        if args.ray:
            return _serve_on_ray(args)
        server = Server(
            tails_of(_files(args), args.device, args.threads),
            listen=args.listen,
            limits=_limits(args.limit),
            max_batch=args.max_batch,
            max_wait_ms=args.max_wait_ms,
            tls=_tls(args),
            token=_token(args),
            metrics_listen=args.metrics,
        )
        leave = _on_signals()
        server.start()
    except (FeatcodecError, ValueError, OSError) as e:
        print(f"featcodec serve: {e}", file=sys.stderr)
        return 2
    metrics = f", metrics at http://{server.metrics_address}/metrics" if server.metrics_address else ""
    print(f"listening at {server.address}{metrics}", flush=True)
    leave.wait()
    server.stop(args.grace_s)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="featcodec serve", description="Serve tails that `Parts.save` wrote.")
    parser.add_argument("tails", nargs="*", type=Path, metavar="tail.fcz", help="files; an entry is called as its file")
    parser.add_argument(
        "--entry", action="append", default=[], metavar="NAME=FILE", help="a file under another name; may come again"
    )
    parser.add_argument("--listen", default="127.0.0.1:0", metavar="HOST:PORT", help="loopback and any port unless given")
    parser.add_argument(
        "--max-batch", type=int, default=32, metavar="N", help="samples that are run together; 1: as one by one"
    )
    parser.add_argument("--max-wait-ms", type=float, default=0.0, metavar="T", help="how long a request waits for others")
    parser.add_argument("--threads", type=int, metavar="N", help="of torch")
    parser.add_argument("--device", default="cpu", help="where tails compute")
    parser.add_argument("--token-file", type=Path, metavar="FILE", help="clients show the token that it holds")
    parser.add_argument("--tls-cert", type=Path, metavar="PEM", help="the server's certificates")
    parser.add_argument("--tls-key", type=Path, metavar="PEM", help="its private key")
    parser.add_argument(
        "--client-ca", type=Path, metavar="PEM", help="serve clients with a certificate of this authority alone"
    )
    parser.add_argument("--metrics", metavar="HOST:PORT", help="serve Prometheus' metrics there")
    parser.add_argument("--limit", action="append", default=[], metavar="NAME=VALUE", help=f"one of {', '.join(_LIMITS)}")
    parser.add_argument("--ray", action="store_true", help="on Ray Serve: RAY_ADDRESS's cluster, or a local one")
    parser.add_argument("--replicas", type=int, default=1, metavar="N", help="with --ray: how many")
    parser.add_argument("--max-replicas", type=int, metavar="N", help="with --ray: scale up to so many")
    parser.add_argument("--grace-s", type=float, default=30.0, metavar="T", help="how long leaving may take")
    parser.add_argument("--log", default="info", choices=("debug", "info", "warning", "error"), help="lines of JSON on stderr")
    return parser


_LIMITS = {field.name: int if field.type == "int" else float for field in fields(Limits)}


def _files(args: argparse.Namespace) -> dict[str, Path]:
    """Files by the names of their entries."""
    pairs = [(path.stem, path) for path in args.tails]
    for text in args.entry:
        name, equals, path = text.partition("=")
        if not equals or not name or not path:
            raise ValueError(f"an entry is NAME=FILE, got {text!r}")
        pairs.append((name, Path(path)))
    if not pairs:
        raise ValueError("give the file of a tail")
    names = [name for name, _ in pairs]
    if len(set(names)) < len(names):
        raise ValueError(f"entries have names of their own, got {', '.join(names)}: use --entry NAME=FILE")
    return dict(pairs)


def _tail(path: Path, device: str) -> Served:
    part = load_part(path, device=device)
    if not isinstance(part, Tail):
        raise ValueError(f"{path} is a head: a server runs tails")
    return Served(part)


def _limits(given: Sequence[str]) -> Limits:
    values: dict[str, Any] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or name not in _LIMITS:
            raise ValueError(f"a limit is NAME=VALUE with one of {', '.join(_LIMITS)}, got {text!r}")
        values[name] = _LIMITS[name](value)
    return Limits(**values)


def _tls(args: argparse.Namespace) -> Tls | None:
    if args.tls_cert is None and args.tls_key is None:
        if args.client_ca is not None:
            raise ValueError("--client-ca wants --tls-cert and --tls-key")
        return None
    if args.tls_cert is None or args.tls_key is None:
        raise ValueError("--tls-cert and --tls-key come together")
    return Tls(args.tls_cert, args.tls_key, args.client_ca)


# What stands before Ray's ingress, by the option that it is asked for with.
_BEFORE_RAY = {"tls_cert": "certificates", "tls_key": "keys", "client_ca": "certificates", "metrics": "metrics of the service"}
_SESSION_LIMITS = ("sessions", "streams", "calls", "session", "receive", "send", "state", "in_flight_per_client")


def _serve_on_ray(args: argparse.Namespace) -> int:
    port = _ray_port(args)
    try:
        deployment = importlib.import_module("featcodec.runtime.ray_deployment")
    except ModuleNotFoundError as e:
        if e.name != "ray":
            raise
        raise MissingDependencyError("featcodec serve --ray needs ray, which is not installed: pip install 'ray[serve]'") from e
    files = {name: path.resolve() for name, path in _files(args).items()}
    deployment.deploy(
        partial(tails_of, files, args.device, args.threads),
        port=port,
        replicas=args.replicas,
        max_replicas=args.max_replicas,
        limits=_limits(args.limit),
        max_batch=args.max_batch,
        max_wait_ms=args.max_wait_ms,
        token=_token(args),
    )
    leave = _on_signals()
    print(f"listening at {args.listen}, on Ray Serve", flush=True)
    leave.wait()
    deployment.withdraw()
    return 0


def _ray_port(args: argparse.Namespace) -> int:
    """The port of Ray's ingress; ValueError where something is asked for that it does not have."""
    for option, what in _BEFORE_RAY.items():
        if getattr(args, option) is not None:
            raise ValueError(f"--{option.replace('_', '-')} does not go with --ray: {what} stand before Ray's ingress")
    for text in args.limit:
        if text.startswith(_SESSION_LIMITS):
            raise ValueError(f"--limit {text} does not go with --ray: limits of sessions stand before Ray's ingress")
    host, _, port = args.listen.rpartition(":")
    if host not in ("0.0.0.0", "[::]") or not port.isdigit() or not 0 < int(port) < 65536:
        raise ValueError(f"Ray's ingress listens on every address: say so by --listen 0.0.0.0:PORT, got {args.listen!r}")
    return int(port)


def tails_of(files: Mapping[str, Path], device: str, threads: int | None) -> dict[str, Served]:
    """Return the tails of files, by the names of their entries; torch then has so many threads."""
    if threads is not None:
        torch.set_num_threads(threads)
    return {name: _tail(path, device) for name, path in files.items()}


def _token(args: argparse.Namespace) -> str | None:
    return None if args.token_file is None else args.token_file.read_text().strip()


def _on_signals() -> Event:
    """What is set once the process is told to leave."""
    leave = Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: leave.set())
    return leave


if __name__ == "__main__":
    sys.exit(main())
