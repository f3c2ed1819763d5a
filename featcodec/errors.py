"""What can go wrong, each cause a class that is also the built-in exception a caller would expect."""

from __future__ import annotations


class FeatcodecError(Exception):
    """Base of every error that featcodec raises about data, configs, layers and packets."""


class BitstreamError(FeatcodecError, ValueError):
    """Received bytes are not a packet that this codec wrote: truncated, damaged, of another config or version."""


class ConfigError(FeatcodecError, ValueError):
    """A codec or channel cannot be built: unknown or out-of-range parameters, a malformed spec."""


class UnknownCodecError(FeatcodecError, KeyError):
    """No codec (or channel) goes by this id."""

    def __str__(self) -> str:  # KeyError would print the message in quotes
        return str(self.args[0]) if self.args else ""


class FeatureError(FeatcodecError, ValueError):
    """A tensor is no feature that can be sent: empty, too large, not finite, of a wrong shape."""


class FeatureTypeError(FeatcodecError, TypeError):
    """A value is no tensor, or a tensor of a dtype that no packet carries."""


class LayerError(FeatcodecError, ValueError):
    """A layer matches no module, or several, or already carries a codec, or cannot be cut."""


class PartError(FeatcodecError, ValueError):
    """A head or tail cannot be read or run: a damaged file, one of another version, operations that no part may use."""


class PlanError(FeatcodecError, ValueError):
    """Nothing can be planned: a link that carries nothing, no figures, limits that nobody meets, another model's profile."""


class MissingDependencyError(FeatcodecError, ImportError):
    """An optional package that the asked-for codec needs is not installed."""


class EdgeError(FeatcodecError, ConnectionError):
    """An edge server refused a request or cannot be reached.

    Attributes
    ----------
    cause
        One word or two: the server's, by which it counts refusals ("token", "codec", "server full", ...), or the client's:
        "lost" (no server, or the connection broke), "deadline", "state" (a stateful session's state is gone), "answer" (what
        came is no answer to what was asked).
    retry_after_s
        When a full server wants to be asked again; None where it did not say.
    """

    def __init__(self, message: str, cause: str = "lost", retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.cause, self.retry_after_s = cause, retry_after_s


class EdgeDeadlineError(EdgeError, TimeoutError):
    """No answer came before the request's deadline."""

    def __init__(self, message: str) -> None:
        super().__init__(message, "deadline")
