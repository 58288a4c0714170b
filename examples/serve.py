#!/usr/bin/env python3
"""Drives a simulated Pasidon IOMMU from Python, with nothing but Python's standard library.

    python3 examples/serve.py --pasidon target/release/pasidon                     starts the simulation itself
    python3 examples/serve.py --pasidon target/release/pasidon --engine both       in lockstep with the golden model
    python3 examples/serve.py --socket pasidon.socket                              uses one that listens already
    python3 examples/serve.py --pasidon target/release/pasidon --measure 50000     measures requests per second

docs/serve.md describes the requests. Addresses and names of fields are those of the RISC-V IOMMU specification.
"""

import argparse
import json
import socket
import subprocess
import time


class Refused(Exception):
    """An answer with an error. `kind` and `field` say which."""

    def __init__(self, error):
        super().__init__(error["message"])
        self.kind = error["kind"]
        self.field = error.get("field")


def connected(path):
    """A connection to a simulation that may have been started just now: the first time it compiles its design."""
    patience = time.monotonic() + 300
    while True:
        stream = socket.socket(socket.AF_UNIX)
        try:
            stream.connect(path)
            return stream
        except (FileNotFoundError, ConnectionRefusedError):
            stream.close()
            if time.monotonic() > patience:
                raise
            time.sleep(0.1)


class Simulation:
    """A simulation, over pipes to a process of our own or over a socket."""

    def __init__(self, command=None, path=None):
        self.events = []
        self.process = None
        if path is None:
            self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            self.requests, self.answers = self.process.stdin, self.process.stdout
        else:
            self.socket = connected(path)
            self.requests = self.socket.makefile("wb")
            self.answers = self.socket.makefile("rb")

    def ask(self, op, **fields):
        """Makes a request and waits for its answer. What happened meanwhile is appended to `events`."""
        self.requests.write(json.dumps({"op": op, **fields}).encode() + b"\n")
        self.requests.flush()
        answer = json.loads(self.answers.readline())
        self.events += answer.get("events", [])
        if "error" in answer:
            raise Refused(answer["error"])
        return answer["result"]

    def read(self, register, **fields):
        return int(self.ask("read_register", register=register, **fields)["value"], 16)

    def write(self, register, value, **fields):
        self.ask("write_register", register=register, value=value, **fields)

    def load(self, address, count=1):
        return [int(word, 16) for word in self.ask("read_memory", address=address, words=count)["words"]]

    def store(self, address, *words):
        # As text: some languages lose bits of large numbers in JSON. Python does not, and could send them as they are.
        self.ask("write_memory", address=address, words=[hex(word) for word in words])

    def quit(self):
        self.ask("quit")
        if self.process:
            self.process.wait()


# Where things are in simulated memory: all of it is memory, and reads 0 until it is written.
DIRECTORY, TABLES, COMMANDS, FAULTS, PAGE_REQUESTS, DONE = 0x10000, 0x20000, 0x30000, 0x40000, 0x50000, 0x60000
DEVICE = 5
R, W, X, U, A, D = (1 << bit for bit in (1, 2, 3, 4, 6, 7))


def ppn(address):
    """A page number where registers, PTEs and directory pointers hold it."""
    return (address >> 12) << 10


class Driver:
    """The little that software must do."""

    def __init__(self, simulation):
        self.simulation = simulation
        self.tail = 0
        self.tables = TABLES + 0x1000

    def start(self, ats):
        s = self.simulation
        # Queues: 8 commands, 8 fault records.
        s.write("cqb", ppn(COMMANDS) | 2)
        s.write("cqcsr", 1)
        s.write("fqb", ppn(FAULTS) | 2)
        s.write("fqcsr", 3)
        # A device context: 4 doublewords, or 8 where MSIs are translated (capabilities.MSI_FLAT).
        extended = s.read("capabilities") >> 22 & 1
        entry = DIRECTORY + DEVICE * (64 if extended else 32)
        valid, en_ats, en_pri = 1, 2, 4
        tc = valid | (en_ats | en_pri if ats else 0)
        sv39 = 8 << 60
        s.store(entry, tc, 0, 0, sv39 | TABLES >> 12)
        # A directory of one level.
        s.write("ddtp", ppn(DIRECTORY) | 2)
        while s.read("ddtp") >> 4 & 1:
            s.ask("step", cycles=10)

    def map(self, iova, address, permissions):
        """Maps a page of 4 KiB."""
        s, table = self.simulation, TABLES
        for level in (2, 1):
            entry = table + 8 * (iova >> 12 + 9 * level & 511)
            (pte,) = s.load(entry)
            if pte == 0:
                pte = ppn(self.tables) | 1
                self.tables += 0x1000
                s.store(entry, pte)
            table = (pte >> 10) << 12
        s.store(table + 8 * (iova >> 12 & 511), ppn(address) | permissions | U | A | D | 1)

    def command(self, *words):
        s = self.simulation
        s.store(COMMANDS + 16 * self.tail, *words)
        self.tail = (self.tail + 1) % 8
        s.write("cqt", self.tail)

    def forget(self):
        """Makes the IOMMU forget all translations, and waits until it has."""
        iodir, iotinval, iofence = 3, 1, 2
        self.command(iodir, 0)
        self.command(iotinval, 0)
        if self.guests():
            self.command(iotinval | 1 << 7, 0)
        # IOFENCE.C with AV: stores DATA at ADDR when it is done.
        self.simulation.store(DONE, 0)
        self.command(iofence | 1 << 10 | 1 << 32, DONE >> 2)
        while self.simulation.load(DONE) != [1]:
            self.simulation.ask("step", cycles=10)

    def guests(self):
        """Whether there is a second stage (IOTINVAL.GVMA)."""
        return self.simulation.read("capabilities") >> 16 & 15


def walk_through(s):
    info = s.ask("info")
    print(f"design {info['design']}, engine {info['engine']}, protocol {info['protocol']}")
    ats = int(info["capabilities"], 16) >> 25 & 1
    driver = Driver(s)
    driver.start(ats)

    # A mapping, and requests: one at a time, and many at once.
    driver.map(0x4000_1000, 0x8000_5000, R | W)
    answer = s.ask("translate", device_id=DEVICE, iova=0x4000_1ABC)
    print(f"0x40001abc is at {answer['spa']}")
    assert answer["spa"] == "0x80005abc" and answer["write"]
    requests = [{"device_id": DEVICE, "iova": 0x4000_1000 + 8 * i, "write": i % 2 == 1} for i in range(100)]
    answers = s.ask("translate_many", requests=requests)["responses"]
    assert [answer["spa"] for answer in answers] == [hex(0x8000_5000 + 8 * i) for i in range(100)]

    # A fault: the device is refused, a record tells software why, an interrupt wire tells it to look.
    answer = s.ask("translate", device_id=DEVICE, iova=0xDEAD_B000, write=True)
    s.ask("settle")
    record = s.load(FAULTS, 4)
    print(f"refused: {answer['name']}; the record says cause {record[0] & 0xFFF}, address {record[2]:#x}")
    assert answer["cause"] == record[0] & 0xFFF == 15 and record[2] == 0xDEAD_B000
    assert any(event["event"] == "interrupt" for event in s.events)
    s.write("fqh", s.read("fqt"))

    # A mapping changes. Until the fence, the old one may be used; after it, only the new one.
    driver.map(0x4000_1000, 0x9000_0000, R)
    driver.forget()
    answer = s.ask("translate", device_id=DEVICE, iova=0x4000_1000)
    print(f"now it is at {answer['spa']}, writable: {answer['write']}")
    assert answer["spa"] == "0x90000000" and not answer["write"]

    # Memory that fails under the walk.
    driver.forget()
    s.ask("inject", address=TABLES, length=4096, failure="read")
    answer = s.ask("translate", device_id=DEVICE, iova=0x4000_1000)
    print(f"with a root table that cannot be read: {answer['name']}")
    assert answer["cause"] == 5
    s.ask("heal")
    driver.forget()

    # Requests under way while the clock runs: answers come as events.
    s.events.clear()
    tickets = s.ask("submit", requests=requests[::2])["tickets"]
    s.ask("step", cycles=50)
    s.ask("settle")
    answered = [event["ticket"] for event in s.events if event["event"] == "response"]
    assert sorted(answered) == tickets
    print(f"{len(answered)} requests were answered while the clock ran, the first was number {answered[0]}")

    # ATS and page requests, where the engine has them.
    page = dict(device_id=DEVICE, address=0x4000_2000, read=True, last=True, index=3)
    if ats:
        answer = s.ask("translate", device_id=DEVICE, iova=0x4000_1000, type="translation_request")
        assert answer["ats"] is not None
        s.write("pqb", ppn(PAGE_REQUESTS) | 2)
        s.write("pqcsr", 3)
        s.ask("page_request", **page)
        s.ask("settle")
        assert s.read("pqt") == 1
        # ATS.PRGR: the group is answered with success.
        driver.command(4 | 1 << 7, 3 << 32)
        # ATS.INVAL: the device must forget; IOFENCE.C would wait for its completion.
        driver.command(4 | DEVICE << 40, 0x4000_1000)
        s.ask("settle")
        told = {event["event"]: event for event in s.events}
        assert "group_response" in told
        request = told["invalidation_request"]
        s.ask("invalidation_completion", rid=request["rid"], itags=[request["itag"]])
        print("a page request was queued and answered, an ATS invalidation was sent and completed")
    else:
        try:
            s.ask("page_request", **page)
        except Refused as refused:
            assert refused.kind == "unsupported"
            print(f"page request: {refused}")

    # Errors are answers.
    try:
        s.ask("translate", device_id=DEVICE, iova="here")
    except Refused as refused:
        assert (refused.kind, refused.field) == ("field", "iova")
        print(f"refused as well: {refused}")
    print("ok")


def measure(s, count):
    """Requests per second, each sent after the answer to the one before."""
    driver = Driver(s)
    driver.start(False)
    driver.map(0x4000_1000, 0x8000_5000, R | W)
    lines = {
        "register reads": {"op": "read_register", "register": "ddtp"},
        "translations": {"op": "translate", "device_id": DEVICE, "iova": 0x4000_1000},
    }
    for what, request in lines.items():
        line = json.dumps(request).encode() + b"\n"
        begun = time.monotonic()
        for _ in range(count):
            s.requests.write(line)
            s.requests.flush()
            s.answers.readline()
        seconds = time.monotonic() - begun
        print(f"{what}: {count / seconds:,.0f} per second")


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--pasidon", default="pasidon", help="the command to start")
    arguments.add_argument("--design", default="default", help="a shipped design or a TOML file")
    arguments.add_argument("--engine", default="rtl", choices=["model", "rtl", "both"])
    arguments.add_argument("--socket", help="a simulation that listens here, instead of one of our own")
    arguments.add_argument("--measure", type=int, metavar="N", help="only measure speed, with N requests of a kind")
    arguments = arguments.parse_args()
    command = [arguments.pasidon, "serve", "--design", arguments.design, "--engine", arguments.engine, "--stdio"]
    simulation = Simulation(command, arguments.socket)
    if arguments.measure:
        measure(simulation, arguments.measure)
    else:
        walk_through(simulation)
    simulation.quit()


if __name__ == "__main__":
    main()
