"""The recorded requests, faults and mails, and the final contents of the stores."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any


@dataclass
class Request:
    """One request and its response. Times are seconds since 1970, by the clock of this machine."""

    flow: int
    address: str
    # register, activate, get, delete
    operation: str
    begun: float
    ended: float = 0.0
    # 0: no response. `error` says why.
    status: int = 0
    error: str = ""
    body: Any = None
    # The code that the request sent.
    code: str = ""
    # What the client tests: right, wrong, destroyed, late, twice, again, deleted.
    intent: str = ""

    @property
    def failed(self) -> bool:
        """Returns whether the response does not tell the outcome. The request may still have succeeded."""
        return self.status == 0 or self.status >= 500

    @property
    def problem(self) -> str:
        """The problem type of an error response, without its path."""
        kind = self.body.get("type", "") if isinstance(self.body, dict) else ""
        return kind.rsplit("/", 1)[-1]


@dataclass
class Mail:
    """One mail in the mock's inbox."""

    id: str
    address: str
    subject: str
    # The code, or an empty string.
    code: str
    accepted: float
    # The mock accepts a retry of a mail as the same mail, and its code then lives for another minute.
    accepted_last: float


@dataclass
class Phase:
    """One part of a fault, and the time from which the servers behind Sixty work again."""

    label: str
    begun: float
    engine_back: float
    # Whether a Redis master loses its last writes, because it replicates asynchronously.
    loses_redis: bool = False
    # Whether that master had the event stream.
    loses_stream: bool = False


@dataclass
class Window:
    """One fault, including the time in which the clients are observed."""

    fault: str
    begun: float
    ended: float = 0.0
    phases: list[Phase] = field(default_factory=list)
    # The time at which a replica of Sixty was killed.
    killed_replica: float = 0.0
    # Whether no request may fail at all.
    must_not_fail: bool = False
    notes: list[str] = field(default_factory=list)
    # What the fault itself found wrong.
    problems: list[str] = field(default_factory=list)


@dataclass
class Final:
    """The stores after the load."""

    users: list[dict] = field(default_factory=list)
    events: list[dict] = field(default_factory=list)
    mails: list[Mail] = field(default_factory=list)
    waiting_mails: int = 0
    waiting_events: int = 0
    # Times, and the age of the oldest event that waited for the relay then, in seconds.
    lag: list[list[float]] = field(default_factory=list)


@dataclass
class History:
    requests: list[Request] = field(default_factory=list)
    windows: list[Window] = field(default_factory=list)
    final: Final = field(default_factory=Final)

    def write(self, path: Path) -> None:
        """Writes one JSON object a line: requests, then windows, then the stores."""
        with path.open("w") as file:
            for request in self.requests:
                file.write(json.dumps({"request": asdict(request)}) + "\n")
            for window in self.windows:
                file.write(json.dumps({"window": asdict(window)}) + "\n")
            file.write(json.dumps({"final": asdict(self.final)}) + "\n")

    @classmethod
    def read(cls, path: Path) -> "History":
        history = cls()
        for line in path.read_text().splitlines():
            record = json.loads(line)
            if "request" in record:
                history.requests.append(Request(**record["request"]))
            elif "window" in record:
                phases = [Phase(**phase) for phase in record["window"].pop("phases")]
                history.windows.append(Window(**record["window"], phases=phases))
            else:
                mails = [Mail(**mail) for mail in record["final"].pop("mails")]
                history.final = Final(**record["final"], mails=mails)
        return history
