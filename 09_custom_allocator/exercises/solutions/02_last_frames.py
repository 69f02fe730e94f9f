"""Exercise 2, solved: what is too old goes to those that wait, and each of them is tried."""

import custom_allocator


class LastFrames:
    def __init__(self, pool: custom_allocator.PoolAllocator, keep: int):
        self.pool, self.keep = pool, keep
        self.frames: list[memoryview] = []
        self.waiting: list[memoryview] = []

    def push(self, frame: bytes) -> memoryview:
        while len(self.frames) >= self.keep:  # before the new one is taken: the pool needs no more than `keep` slots
            self.waiting.append(self.frames.pop(0))
        self.waiting = [view for view in self.waiting if not self._given_back(view)]
        view = self.pool.allocate(len(frame))
        view[:] = frame
        self.frames.append(view)
        return view

    def _given_back(self, view: memoryview) -> bool:
        try:
            self.pool.deallocate(view)
        except BufferError:
            return False
        return True
