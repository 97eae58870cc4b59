"""Writes the output of commands to a file of limited size."""

import os
import select
import threading

MOST = 15 << 20  # bytes of a file: larger files may not be copied from the card's machine


class Output:
    """The output of one command, which is written to a file and kept in memory.

    The command writes to a pipe, which a thread reads. The first part of the output is
    written to the file immediately. The rest follows when the command has ended; if it
    is too long, only its end is kept.
    """

    def __init__(self, file):
        self.file = file
        half = max(4096, (MOST - file.size) // 8)  # a quarter of what is left for one command
        self.room, self.most = half, half
        self.first, self.last, self.cut = bytearray(), bytearray(), 0
        self.reading, self.writing = os.pipe()
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.copy, daemon=True)
        self.thread.start()

    def fileno(self):
        return self.writing

    def copy(self):
        while True:
            # A process that could not be ended may keep the pipe open; then `over` ends the loop.
            ready = select.select([self.reading], [], [], 0.2)[0]
            if not ready and self.over.is_set():
                return
            data = os.read(self.reading, 1 << 16) if ready else b""
            if ready and not data:
                return
            head, rest = data[: self.room], data[self.room :]
            if head:
                self.room -= len(head)
                self.first += head
                self.file.write(head)
            self.last += rest
            if len(self.last) > 2 * self.most:
                self.shorten()

    def close(self, seconds=1.0):
        """Stops reading after the command has ended. Further calls do nothing."""
        if self.writing is None:
            return
        os.close(self.writing)
        self.writing = None
        self.over.set()
        self.thread.join(seconds)
        if self.thread.is_alive():  # a process that could not be ended keeps writing: leave the pipe to the thread
            return
        os.close(self.reading)
        self.shorten()
        if self.cut:
            self.last[:0] = f"\n... {self.cut} bytes were left out here ...\n".encode()
        if self.last:
            self.file.write(bytes(self.last))

    def shorten(self):
        too_many = len(self.last) - self.most
        if too_many > 0:
            self.cut += too_many
            del self.last[:too_many]

    def text(self):
        return (self.first + self.last).decode(errors="replace")
