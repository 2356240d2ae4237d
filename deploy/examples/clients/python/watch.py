"""Follows the health of entities at a Vitals hub, goes on where it was after a cut, and proves that what it holds is what
the hub holds. docs/clients.md says why it does what it does.

The messages are generated from the project's .proto files:

    python -m grpc_tools.protoc -I ../../../../proto --python_out gen --grpc_python_out gen ../../../../proto/vitals/v1/*.proto
"""

import argparse
import asyncio
import random
import signal
import sys
from pathlib import Path

import grpc

# What is generated imports `vitals.v1` from the top.
sys.path.insert(0, str(Path(__file__).parent / "gen"))
from vitals.v1 import entity_service_pb2 as messages  # noqa: E402
from vitals.v1 import entity_service_pb2_grpc as services  # noqa: E402
from vitals.v1 import health_pb2 as health  # noqa: E402

# A watch that says nothing for so long is dead: `progress` comes every 15 s.
SILENCE_MAX_S = 45
# Between two connections; it doubles, with jitter.
PAUSE_MIN_S = 0.2
PAUSE_MAX_S = 5.0

# Left alone, the connection itself would wait for up to two minutes after a longer outage.
OPTIONS = [("grpc.initial_reconnect_backoff_ms", 200), ("grpc.max_reconnect_backoff_ms", 5000)]

# Trying again changes nothing.
FINAL = {
    grpc.StatusCode.UNAUTHENTICATED,
    grpc.StatusCode.PERMISSION_DENIED,
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.UNIMPLEMENTED,
}


class Differs(Exception):
    """The view is not the one that the hub means."""


class View:
    """What a watch has told so far. It takes each step, and proves itself at `synced`."""

    def __init__(self):
        self.entities = {}
        # A snapshot that is not whole yet; what was there before stays until it is.
        self.building = None

    def _held(self):
        return self.entities if self.building is None else self.building

    def begin_snapshot(self):
        self.building = {}

    def begin_resume(self):
        """Keeps the view: what changed since the token follows. Of a snapshot that was cut, nothing is kept."""
        self.building = None

    def upsert(self, entity):
        """Takes an entity as it is now, and gives what was in sight of it before."""
        before = self.entities.get(entity.ref)
        self._held()[entity.ref] = entity
        return before

    def remove(self, ref):
        """Forgets an entity, and tells whether it was in sight."""
        known = ref in self.entities
        self._held().pop(ref, None)
        return known

    def synced(self, said):
        """Ends a snapshot or a resume. Gives the references that a new snapshot does not name any more."""
        vanished = []
        if self.building is not None:
            vanished = [ref for ref in self.entities if ref not in self.building]
            self.entities, self.building = self.building, None
        count, digest = self.sum()
        if (count, digest) != (said.count, said.digest):
            raise Differs(
                f"{count} entities, digest {digest:016x} here; {said.count}, {said.digest:016x} at the hub"
            )
        return vanished

    def sum(self):
        """Count and digest: the digests of all entities, added modulo 2^64."""
        digest = sum(entity.digest for entity in self.entities.values())
        return len(self.entities), digest % 2**64


class Follower:
    """Watches, and watches again where it was."""

    def __init__(self, client, filter, metadata):
        self.client, self.filter, self.metadata = client, filter, metadata
        self.view = View()
        # Of the last `synced` or `progress`, for the same filter; empty asks for a snapshot.
        self.token = b""
        self.pause_s = PAUSE_MIN_S

    async def follow(self):
        while True:
            try:
                await self.watch()
            except Differs as error:
                # Nothing is known any more: the next watch begins with a snapshot.
                self.token, reason = b"", f"the view differs: {error}"
            except grpc.aio.AioRpcError as error:
                if error.code() in FINAL:
                    raise
                reason = f"{error.code().name}: {error.details()}"
            except TimeoutError:
                reason = "the hub is silent"
            else:
                reason = "the hub ended the watch"
            pause_s = self.pause_s * random.uniform(0.5, 1.5)
            self.pause_s = min(2 * self.pause_s, PAUSE_MAX_S)
            print(f"vitals-watch: {reason}; again in {pause_s:.1f} s", file=sys.stderr)
            await asyncio.sleep(pause_s)

    async def watch(self):
        """Opens one watch and takes its steps until it ends."""
        request = messages.WatchEntitiesRequest(filter=self.filter, resume_token=self.token)
        call = self.client.WatchEntities(request, metadata=self.metadata)
        try:
            while (step := await asyncio.wait_for(call.read(), SILENCE_MAX_S)) is not grpc.aio.EOF:
                self.pause_s = PAUSE_MIN_S
                self.apply(step)
        finally:
            call.cancel()

    def apply(self, step):
        match step.WhichOneof("event"):
            case "snapshot":
                self.view.begin_snapshot()
                say("snapshot", step.snapshot.reason)
            case "resumed":
                self.view.begin_resume()
                say("resumed")
            case "upsert":
                before, now = self.view.upsert(step.upsert), word(step.upsert)
                if before is None or word(before) != now:
                    say(step.upsert.ref, now, step.upsert.verdict.message)
            case "removed":
                if self.view.remove(step.removed.ref):
                    say(step.removed.ref, "gone")
            case "synced":
                for ref in self.view.synced(step.synced):
                    say(ref, "gone")
                self.token = step.synced.token
                say(f"synced {step.synced.count} entities, digest {step.synced.digest:016x}")
            case "progress":
                self.token = step.progress.token
                say("progress", step.progress.as_of.ToJsonString())
            # A step of a newer hub, which this program does not know, says nothing that it needs.


def word(entity):
    """A status as people write it: Healthy."""
    name = health.HealthStatus.Name(entity.verdict.status)
    return name.removeprefix("HEALTH_STATUS_").capitalize()


def say(*words):
    print(*filter(None, words), flush=True)


async def main():
    arguments = argparse.ArgumentParser(description="Follows the health of entities at a Vitals hub.")
    arguments.add_argument("--hub", default="127.0.0.1:7700", help="address of the hub")
    arguments.add_argument("--tls-ca", help="file with the roots to trust (PEM); without one, no TLS")
    arguments.add_argument("--token-file", help="file with the bearer token")
    arguments.add_argument("--namespaces", default="", help="namespaces of the entities, separated by commas; empty for all")
    arguments = arguments.parse_args()

    metadata = []
    if arguments.token_file:
        if not arguments.tls_ca:
            sys.exit("vitals-watch: a token is not sent without TLS: set --tls-ca")
        metadata = [("authorization", "Bearer " + Path(arguments.token_file).read_text().strip())]
    if arguments.tls_ca:
        credentials = grpc.ssl_channel_credentials(Path(arguments.tls_ca).read_bytes())
        channel = grpc.aio.secure_channel(arguments.hub, credentials, options=OPTIONS)
    else:
        channel = grpc.aio.insecure_channel(arguments.hub, options=OPTIONS)
    async with channel:
        namespaces = [namespace for namespace in arguments.namespaces.split(",") if namespace]
        filter = messages.EntityFilter(namespaces=namespaces)
        following = asyncio.create_task(Follower(services.EntityServiceStub(channel), filter, metadata).follow())
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, following.cancel)
        try:
            await following
        except asyncio.CancelledError:
            pass
        except grpc.aio.AioRpcError as error:
            sys.exit(f"vitals-watch: {error.code().name}: {error.details()}")


if __name__ == "__main__":
    asyncio.run(main())
