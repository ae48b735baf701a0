"""A peer of netd's supervisor socket that does everything wrong."""
import ctypes, json, os, resource, socket, subprocess, sys, threading, time

PATH = "/run/rspawn/supervisor.sock"
CLONE_NEWNET = 0x40000000
SLEEP = ["sleep", "1000"]
REGISTRATION = {
    "v": 1, "type": "register", "name": "bad", "service": "test", "root": "/tree",
    "cgroup": "", "network": {"kind": "private"},
}
limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))


def connect(patience=15):
    s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    # Waits for its turn, where others are before it.
    s.connect(PATH)
    s.settimeout(patience)
    return s


def send(s, message, descriptors=()):
    data = message if isinstance(message, bytes) else json.dumps(message).encode()
    socket.send_fds(s, [data], list(descriptors))


def hear(s):
    """The next message as text, or what ended the connection."""
    try:
        data = s.recv(65536)
    except ConnectionResetError:
        return "reset"
    except TimeoutError:
        return "silence"
    if not data:
        return "end"
    message = json.loads(data)
    return " ".join([message["type"], message.get("reason", ""), message.get("message", "")])


def ask(message, descriptors=()):
    with connect() as s:
        try:
            send(s, message, descriptors)
        except BrokenPipeError:
            pass
        return hear(s)


def child():
    return subprocess.Popen(SLEEP)


def pidfd(process):
    return os.pidfd_open(getattr(process, "pid", process))


def inside(protocol=0):
    """A netlink socket of a network namespace of its own."""
    made = []

    def make():
        assert ctypes.CDLL(None).unshare(CLONE_NEWNET) == 0
        made.append(socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, protocol))

    thread = threading.Thread(target=make)
    thread.start()
    thread.join()
    return made[0].detach()


def registration(**changes):
    return {**REGISTRATION, **changes}


def register(process, **changes):
    """Registers a child as it should be done."""
    s = connect()
    send(s, registration(**changes), [pidfd(process), inside()])
    return s


def say(case, answer):
    print(f"{case}: {answer}", flush=True)
