"""Many pictures at a time by DALI: decoded and resized on a GPU, or on the processors where there is none.

It takes what the gate lets pass: clean sRGB JPEGs. DALI fails a whole batch for one bad picture; here the bad one alone
comes back refused, and the CPU engine has the last word on it.
"""

import re
import time
from collections import OrderedDict, deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from pipelines.images.dali_batch import Batch, Outcome, Refused, Room, Task, bounded
from pipelines.images.dali_graph import (
    BATCHES,
    IN_FLIGHT,
    BatchFailed,
    Graph,
    GraphSettings,
    GraphShape,
    release_memory,
)

WARM_GRAPHS = 2
"""Kept built: what was last used, so that two recipes by turns build nothing."""
BYTES_PER_PIXEL = 12
"""Of a source picture in a batch, an upper estimate: RGB of two batches, the JPEG decoder's planes, the rows of a
resize. 256 photos of 12 megapixels took 17 GB of an H100, of 37 by this; 64 took 7.6 of 9.4."""
BYTES_PER_STILL_PIXEL = 20
"""Of a still, in this process: 4 in each of three batches (copied, handed out, being encoded), their files, and what
malloc keeps. 256 photos with stills of 3.4 megapixels each took 15.7 GB."""
CPU_MEMORY_BYTES = 2_000_000_000
HOST_BYTES = 8_000_000_000
FAILED_RUNS = 24
"""How often a batch is tried in part to find its bad pictures; what is undecided then is refused. One bad picture of
256 is found in at most eight, mostly in one."""
_NAMED = re.compile(r"sample #(\d+)")

_Flight = tuple[Graph, Batch]


class DaliEngine:
    """Graphs that are kept warm. For one thread at a time; the encoders of a finished batch may run beside it."""

    def __init__(
        self,
        *,
        device_id: int | None,
        threads: int,
        memory_bytes: int = CPU_MEMORY_BYTES,
        host_bytes: int = HOST_BYTES,
    ) -> None:
        """`memory_bytes`: what the pictures of the batches in flight may take, on the GPU where there is one;
        `host_bytes`: what their stills may take here, until they are encoded."""
        self._settings = GraphSettings(device_id, threads)
        self._pool = ThreadPoolExecutor(threads, "dali")  # reads files and copies pictures, beside DALI's own threads
        self._room = Room(memory_bytes // BYTES_PER_PIXEL, host_bytes // BYTES_PER_STILL_PIXEL)
        self._graphs: OrderedDict[GraphShape, Graph] = OrderedDict()
        self.built = 0
        """Graphs that were built so far, for whoever watches that they are reused."""

    def batches(self, tasks: Iterable[Task], count: int = BATCHES[-1]) -> Iterator[list[Task]]:
        """`tasks` in batches of at most `count` that fit into the memory; a picture too large for it goes alone."""
        return bounded(tasks, count, self._room)

    def run(self, batches: Iterable[Sequence[Task]]) -> Generator[list[Outcome]]:
        """One outcome for each task of each batch, in order.

        A batch is given out while the next one is being decoded: encode it before asking for more. Raises
        MediaProcessFailed where DALI does not work at all, whatever the pictures.
        """
        flying: deque[_Flight] = deque()
        try:
            for tasks in batches:
                batch = Batch.of(tasks, self._pool)
                while flying and not flying[-1][0].shape.takes(GraphShape.for_batch(batch.cascades)):
                    yield self._land(flying)  # the next one needs another graph
                if not batch.tasks:
                    yield from self._landed(flying)
                    yield batch.outcomes([])
                    continue
                flying.append(self._start(batch))
                if len(flying) == IN_FLIGHT:
                    yield self._land(flying)
            yield from self._landed(flying)
        finally:
            for graph, _ in flying:  # nobody waits for these any more
                self._drop(graph)

    def close(self) -> None:
        """Give back the memory and the threads."""
        self._pool.shutdown()
        if self._graphs:
            self._graphs.clear()
            release_memory()

    def _landed(self, flying: deque[_Flight]) -> Iterator[list[Outcome]]:
        while flying:
            yield self._land(flying)

    def _land(self, flying: deque[_Flight]) -> list[Outcome]:
        graph, batch = flying.popleft()
        try:
            return batch.outcomes(batch.rendered(graph.collect(batch.cascades, self._pool), self._pool))
        except BatchFailed as error:
            behind = [later for _, later in flying]
            for lost, _ in [(graph, batch), *flying]:  # what flew behind it is lost with the graph
                self._drop(lost)
            flying.clear()
            outcomes = batch.outcomes(self._in_parts(batch, error))
            flying.extend(self._start(later) for later in behind)
            return outcomes

    def _start(self, batch: Batch) -> _Flight:
        graph = self._warm(GraphShape.for_batch(batch.cascades))
        batch.started = time.monotonic()
        graph.start(batch.jpegs, batch.cascades)
        return graph, batch

    def _in_parts(self, batch: Batch, error: BatchFailed) -> list[Outcome]:
        """What became of the tasks of a batch that failed as a whole."""
        outcomes: list[Outcome] = [Refused("DALI found too many bad pictures beside it")] * len(batch.tasks)
        parts = deque(_parts(range(len(batch.tasks)), error))
        if not parts:
            return [Refused(f"DALI: {error}")]
        failed = 0
        while parts and failed < FAILED_RUNS:
            places = parts.popleft()
            part = batch.part(places)
            graph, _ = self._start(part)
            try:
                found: list[Outcome] = part.rendered(graph.collect(part.cascades, self._pool), self._pool)
            except BatchFailed as again:
                self._drop(graph)
                failed += 1
                smaller = _parts(places, again)
                parts.extend(smaller)
                found = [] if smaller else [Refused(f"DALI: {again}")]
            for place, outcome in zip(places, found, strict=False):
                outcomes[place] = outcome
        return outcomes

    def _warm(self, shape: GraphShape) -> Graph:
        for built, graph in self._graphs.items():
            if built.takes(shape):
                self._graphs.move_to_end(built)
                return graph
        while len(self._graphs) >= WARM_GRAPHS:
            self._graphs.popitem(last=False)
            release_memory()
        graph = self._graphs[shape] = Graph(shape, self._settings)
        self.built += 1
        return graph

    def _drop(self, graph: Graph) -> None:
        if self._graphs.pop(graph.shape, None) is not None:
            release_memory()


def _parts(places: Sequence[int], error: BatchFailed) -> list[list[int]]:
    """A failed batch in two: the picture that the error names and the others, or halves. A single one has no parts."""
    if len(places) == 1:
        return []
    named = _NAMED.search(str(error))
    if named and (suspect := int(named[1])) < len(places):
        return [[*places[:suspect], *places[suspect + 1 :]], [places[suspect]]]
    middle = len(places) // 2
    return [list(places[:middle]), list(places[middle:])]
