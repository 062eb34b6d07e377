#!/usr/bin/env python3
"""A remote that was written from the chapters of the protocol alone (book/src/protocol); its comments name clauses.

    remote.py FILE SOCKET                       makes both as OpenAMP's programs do on Linux, and waits for the host
    remote.py BASE TABLE < MEMORY > DOORBELL    gets them, the memory at the device address BASE, the table in it

The doorbell is a Unix stream socket; a kick is one byte, the lowest of the notifyid. It serves `rpmsg-echo`, which sends
back whatever comes; and where the host announces `rpmsg-greet`, it says hello there.
"""

import mmap
import os
import select
import socket
import struct
import sys
import threading

ACKNOWLEDGE, DRIVER, DRIVER_OK, NEEDS_RESET, FAILED = 1, 2, 4, 0x40, 0x80
F_NS = 1
NEXT, WRITE, INDIRECT = 1, 2, 4
ANY, NAME_SERVICE, ECHO, GREETER = 0xFFFFFFFF, 53, 1024, 1025
HEADER = struct.Struct("<IIIHH")
ANNOUNCEMENT = struct.Struct("<32sII")
SERVICES_MAX, LOOK_SECONDS = 16, 0.02


class Broken(Exception):
    """The host broke a rule of the rings (ERROR-1)."""


class Closed(Exception):
    """The host reset the device (RESET-4)."""


def fence(lock=threading.Lock()):
    """A full fence: what takes and leaves a lock has passed one, on the processors that this runs on."""
    with lock:
        pass


class Memory:
    """The memory that both sides reach."""

    def __init__(self, fd, base):
        self.bytes = memoryview(mmap.mmap(fd, 0))
        self.words = self.bytes.cast("H")  # MEM-8: one access for each 16-bit word
        self.base = base

    def find(self, address, length):
        """MEM-2, MEM-3: where the bytes at a device address are here."""
        at = address - self.base
        if at < 0 or at + length > len(self.bytes):
            raise Broken(f"{length} bytes at {address:#x} are in no shared memory")
        return at

    def copy(self, at, length):
        return bytes(self.bytes[at : at + length])  # MEM-5

    def write(self, at, data):
        self.bytes[at : at + len(data)] = data

    def word(self, at):
        return self.words[at // 2]

    def set_word(self, at, value):
        self.words[at // 2] = value & 0xFFFF


class Ring:
    """The remote's end of one ring (RING-1)."""

    def __init__(self, memory, da, align, num, writable):
        if num not in (1 << bit for bit in range(16)) or align not in (1 << bit for bit in range(2, 32)):
            raise Broken(f"a ring of {num} descriptors, aligned to {align}")  # TABLE-9
        self.available = 16 * num
        self.used = (self.available + 6 + 2 * num + align - 1) & ~(align - 1)
        self.at = memory.find(da, self.used + 6 + 8 * num)
        if self.at % 16:
            raise Broken(f"a ring at {da:#x}")  # MEM-8
        self.memory, self.num, self.writable = memory, num, writable
        self.taken = self.returned = self.shown = 0
        self.is_fresh = True
        if self.is_cleared():
            raise Broken("the ring is in use already")  # START-7

    def is_cleared(self):
        """RESET-4: whether the used index is not the one that was written last."""
        return self.memory.word(self.at + self.used + 2) != self.shown

    def take(self):
        """The next buffer that the host made available: its number, place and length; or None."""
        waiting = (self.memory.word(self.at + self.available + 2) - self.taken) & 0xFFFF
        if waiting > self.num - ((self.taken - self.returned) & 0xFFFF):
            raise Broken(f"{waiting} more descriptors in a ring of {self.num}")  # RING-10
        if waiting == 0:
            return None
        head = self.memory.word(self.at + self.available + 4 + 2 * (self.taken % self.num))
        if head >= self.num:
            raise Broken(f"descriptor {head} of {self.num}")  # RING-11
        address, length, flags, _ = struct.unpack("<QIHH", self.memory.copy(self.at + 16 * head, 16))
        if flags & (NEXT | WRITE | INDIRECT) != self.writable or length < HEADER.size:
            raise Broken(f"descriptor with flags {flags:#x} and length {length}")  # RING-5, RING-6, MESSAGE-7
        place = self.memory.find(address, length)
        self.taken = (self.taken + 1) & 0xFFFF
        return head, place, length

    def give(self, head, length):
        slot = self.at + self.used + 4 + 8 * (self.returned % self.num)
        self.memory.write(slot, struct.pack("<II", head, length))
        self.returned = (self.returned + 1) & 0xFFFF

    def show(self, other):
        """Makes what was given visible. Whether the host wants a kick for it."""
        if self.returned == self.shown:
            return False
        if self.is_cleared() or (self.is_fresh and other.is_cleared()):
            raise Closed("the rings were cleared")  # RESET-4, RESET-5
        self.memory.set_word(self.at + self.used + 2, self.returned)  # MEM-7
        self.shown, self.is_fresh = self.returned, False
        fence()  # NOTIFY-1
        return not self.memory.word(self.at + self.available) & 1  # NOTIFY-5

    def want(self, wanted):
        """Says whether a kick is wanted. Whether something has come meanwhile."""
        self.memory.set_word(self.at + self.used, 0 if wanted else 1)
        fence()  # NOTIFY-2
        return self.memory.word(self.at + self.available + 2) != self.taken


class Remote:
    def __init__(self, memory, table, bell):
        self.memory, self.bell = memory, bell
        self.vdev = self.find_device(table)
        self.offered = self.register(12)  # FEATURE-3
        self.asked = False
        os.set_blocking(bell, False)

    def find_device(self, table):
        version, count = struct.unpack("<II", self.memory.copy(table, 8))
        if version != 1 or count > 256:
            sys.exit(f"a table of version {version} with {count} entries")  # TABLE-1
        for offset in struct.unpack(f"<{count}I", self.memory.copy(table + 16, 4 * count)):
            kind, device = struct.unpack("<II", self.memory.copy(table + offset, 8))
            if kind == 3 and device == 7 and self.memory.bytes[table + offset + 25] >= 2:  # TABLE-4, TABLE-5
                return table + offset
        sys.exit("no rpmsg device")

    def register(self, at):
        return struct.unpack("<I", self.memory.copy(self.vdev + at, 4))[0]

    def status(self):
        return self.memory.bytes[self.vdev + 24]

    def is_up(self):
        """START-5, RESET-2: single bits count. RESET-7: a request that is gone was granted."""
        if self.asked and not self.status() & NEEDS_RESET:
            return False
        return self.status() & DRIVER_OK != 0 and not self.status() & FAILED

    def run(self):
        while True:
            self.start()
            try:
                self.attach()
                while self.is_up():
                    if not self.turn():
                        self.sleep()
            except Broken as broken:
                if any(ring.is_cleared() for ring in self.rings):
                    continue  # RESET-12
                print("remote.py:", broken, file=sys.stderr)
                if self.is_up():  # rings that are being taken apart look like broken ones
                    self.memory.bytes[self.vdev + 24] = self.status() | NEEDS_RESET  # RESET-6, ERROR-2
                    self.asked = True
            except Closed:
                pass  # the status may say DRIVER_OK all along, so it starts at once

    def start(self):
        """START-1, START-3, RESET-6: looks at the status on every kick and now and then, and at nothing else."""
        while True:
            if self.asked and not self.status() & NEEDS_RESET:
                self.asked = False
            if not self.asked and self.is_up():
                return
            self.wait()

    def attach(self):
        self.rings, self.ids = [], []
        fence()  # START-6
        features = self.register(16)
        if features & ~self.offered:
            raise Broken(f"features {features:#x}, offered were {self.offered:#x}")  # FEATURE-3
        for index, writable in ((0, WRITE), (1, 0)):
            da, align, num, notifyid = struct.unpack("<4I", self.memory.copy(self.vdev + 28 + 20 * index, 16))
            self.rings.append(Ring(self.memory, da, align, num, writable))
            self.ids.append(notifyid)
        self.tx, self.rx = self.rings
        self.spare, self.peer, self.services = None, None, set()  # RESET-9
        self.outgoing = []
        if features & F_NS:  # FEATURE-6, NS-6
            self.outgoing.append((ECHO, NAME_SERVICE, ANNOUNCEMENT.pack(b"rpmsg-echo", ECHO, 0)))
        self.tx.want(False)  # NOTIFY-8

    def turn(self):
        """Sends what waits, and takes one frame where nothing does. Whether it got on."""
        moved = False
        while self.outgoing and self.send(*self.outgoing[0]):
            self.outgoing.pop(0)
            moved = True
        if not self.outgoing:
            if frame := self.rx.take():
                self.frame(*frame)
                moved = True
            elif self.rx.is_cleared() or self.tx.is_cleared():
                raise Closed("the rings were cleared")
        for ring, other, notifyid in ((self.tx, self.rx, self.ids[0]), (self.rx, self.tx, self.ids[1])):
            if ring.show(other):
                self.kick(notifyid)  # NOTIFY-3, NOTIFY-7
        return moved

    def send(self, src, dst, payload):
        self.spare = self.spare or self.tx.take()  # MESSAGE-8
        if not self.spare:
            return False  # ERROR-5
        head, place, room = self.spare
        length = HEADER.size + len(payload)
        if length > room:
            print(f"remote.py: {len(payload)} bytes do not fit", file=sys.stderr)  # MESSAGE-12
            return True
        self.memory.write(place, HEADER.pack(src, dst, 0, len(payload), 0) + payload)  # MESSAGE-10
        self.tx.give(head, length)  # MESSAGE-3
        self.spare = None
        return True

    def frame(self, head, place, length):
        src, dst, _, claimed, _ = HEADER.unpack(self.memory.copy(place, HEADER.size))
        if claimed <= length - HEADER.size:  # else MESSAGE-11: dropped
            payload = self.memory.copy(place + HEADER.size, claimed)
            if dst == ECHO:
                self.peer = src if self.peer is None else self.peer  # ADDRESS-6
                self.outgoing.append((ECHO, src, payload))
            elif dst == NAME_SERVICE and claimed == ANNOUNCEMENT.size:  # NS-1, NS-7
                self.announcement(*ANNOUNCEMENT.unpack(payload))
            # ADDRESS-5: what is for nobody is dropped
        self.rx.give(head, length)  # MESSAGE-5

    def announcement(self, name, address, flags):
        name = name[:31].split(b"\0")[0]  # NS-3
        if not name or any(not 32 <= byte < 127 for byte in name):
            return
        if flags & 1:  # NS-4, NS-10
            self.services.discard((name, address))
        elif (name, address) not in self.services and len(self.services) < SERVICES_MAX:  # NS-10, NS-11
            self.services.add((name, address))
            if name == b"rpmsg-greet" or name.startswith(b"rpmsg-greet-") and len(name) > 12:  # NS-12
                self.outgoing.append((GREETER, address, b"hello"))  # NS-8: who hears of a service speaks first

    def sleep(self):
        starved = bool(self.outgoing)
        something = self.rx.want(True) if not starved else self.tx.want(True)  # NOTIFY-2
        if not something:
            self.wait()
        (self.tx if starved else self.rx).want(False)

    def wait(self):
        """Until a kick, of whatever number (NOTIFY-3, NOTIFY-4), or for a while (RESET-3)."""
        if select.select([self.bell], [], [], LOOK_SECONDS)[0] and not os.read(self.bell, 4096):
            sys.exit(0)  # the host is gone

    def kick(self, notifyid):
        try:
            os.write(self.bell, bytes([notifyid & 0xFF]))
        except BlockingIOError:
            pass  # it has kicks enough to see


def meet(path, name):
    with open(path, "w+b") as file:
        file.truncate(0x80000)
        vdev = struct.pack("<6I4B", 3, 7, 0, F_NS, 0, 0, 0, 2, 0, 0)
        vdev += struct.pack("<5I", ANY, 64, 16, ANY, 0) * 2  # TABLE-8
        os.pwrite(file.fileno(), struct.pack("<5I", 1, 1, 0, 0, 20) + vdev, 0)
        memory = Memory(file.fileno(), 0)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(name)
    listener.listen(1)
    return Remote(memory, 0, listener.accept()[0].detach())


if __name__ == "__main__":
    if len(sys.argv) != 3 or sys.byteorder != "little":
        sys.exit(__doc__)
    first, second = sys.argv[1:]
    try:
        if first.isdecimal():
            Remote(Memory(sys.stdin.fileno(), int(first)), int(second), sys.stdout.fileno()).run()
        meet(first, second).run()
    except (BrokenPipeError, ConnectionResetError):
        pass  # the host is gone
