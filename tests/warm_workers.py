"""Workers without the seconds that their imports take: a server that has loaded everything and forks a child for each of them.

  python tests/warm_workers.py COMMAND ...    run a command so that all lab workers that it starts, at whatever depth, begin here

The first worker loads the libraries for all. A child differs from a fresh interpreter in that alone: it has the worker's arguments,
environment, folder, import path, standard files and session. A test of the start itself takes $UPSLOPE_WARM out of the environment.
"""
import os, socket, sys
from pathlib import Path

STARTED = Path(__file__).resolve().parent/'warm'   # what Python imports at its start, if this is on its path
loaded = set()
LOADED = ['upslope.lab.planner', 'sklearn.datasets', 'sklearn.neighbors', 'torch._dynamo']

# -- the child --------------------------------------------------------------------------------------------------------
def load():
    "What workers load, but for the module that they run, which `python -m` reads anew"
    from importlib import import_module
    import gc
    for name in LOADED: import_module(name)
    loaded.update(LOADED)
    del sys.modules[LOADED[0]]
    gc.freeze()

def become(order, files):
    "Turn this process, a child just forked, into the worker that `order` describes, and end it"
    import atexit, importlib, runpy, signal, threading, traceback
    import numpy, torch
    os.setsid()
    for number, file in enumerate(files): os.dup2(file, number)
    for file in files: os.close(file)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.clear()
    os.environ.update(order['environment'])
    os.chdir(order['folder'])
    given = order['environment'].get('PYTHONPATH', '')
    sys.path[:] = [order['folder'], *filter(None, given.split(os.pathsep)), *sys.path]
    sys.argv[:] = ['', *order['arguments']]
    importlib.invalidate_caches()
    numpy.random.seed()
    torch.seed()
    code = 0
    try: runpy.run_module('upslope.lab.planner', run_name='__main__', alter_sys=True)
    except SystemExit as end: code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        code = 1
    threading._shutdown()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)

# -- the server -------------------------------------------------------------------------------------------------------
def receive(connection):
    "(order, its three files)"
    import json
    size, files, _, _ = socket.recv_fds(connection, 8, 3)
    text = b''
    while len(text) < int.from_bytes(size, 'little'): text += connection.recv(65536)
    return json.loads(text), files

def serve(listener):
    "Until standard input ends: a child for each connection; it is killed when its connection ends, which is told how it ended"
    import selectors, signal
    events = selectors.DefaultSelector()
    def watch(file, what, *more): events.register(file, selectors.EVENT_READ, (what, *more))
    def begin():
        connection, _ = listener.accept()
        try: order, files = receive(connection)
        except (OSError, ValueError): return connection.close()   # who asked is dead
        if LOADED[0] not in loaded: load()
        pid = os.fork()
        if not pid:
            for key in list(events.get_map().values()): os.close(key.fd)
            connection.close()
            become(order, files)
        for file in files: os.close(file)
        watch(connection, 'gone', pid)
        watch(os.pidfd_open(pid), 'ended', pid, connection)
    def end(connection, pid):
        events.unregister(connection)
        try: os.kill(pid, signal.SIGKILL)
        except ProcessLookupError: pass
    def tell(process, pid, connection):
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        try: connection.sendall(f'{code}\n'.encode())
        except OSError: pass   # nobody waits any more
        if connection in events.get_map(): events.unregister(connection)
        connection.close()
        events.unregister(process)
        os.close(process)
    watch(listener, 'new')
    watch(0, 'over')
    while True:
        for key, _ in events.select():
            if events.get_map().get(key.fd) is not key: continue   # its process has just ended
            what, *more = key.data
            if what == 'over': return
            if what == 'new': begin()
            if what == 'gone': end(key.fileobj, *more)
            if what == 'ended': tell(key.fileobj, *more)

class Warm:
    "The server as a context: while it lasts, `environment` makes workers begin there; empty where that cannot be (it needs Linux)"
    def __enter__(self):
        import subprocess, tempfile
        self.environment, self.process = {}, None
        if not hasattr(os, 'pidfd_open'): return self
        self.folder = tempfile.TemporaryDirectory(prefix='warm-')
        address = f'{self.folder.name}/socket'
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(address)
            listener.listen(128)
            os.set_inheritable(listener.fileno(), True)
            command = [sys.executable, __file__, '--serve', str(listener.fileno())]
            self.process = subprocess.Popen(command, stdin=subprocess.PIPE, pass_fds=[listener.fileno()], start_new_session=True)
        path = os.pathsep.join(filter(None, [str(STARTED), os.environ.get('PYTHONPATH')]))
        self.environment = dict(UPSLOPE_WARM=address, PYTHONPATH=path)
        return self
    def spent(self):
        "Seconds of processor time of the server and of the workers that have ended"
        if self.process is None: return 0.
        fields = Path(f'/proc/{self.process.pid}/stat').read_text().rpartition(')')[2].split()
        return sum(map(int, fields[11:15]))/os.sysconf('SC_CLK_TCK')
    def __exit__(self, *_):
        if self.process is None: return
        self.process.stdin.close()
        self.process.wait()
        self.folder.cleanup()

if __name__ == '__main__':
    if sys.argv[1] == '--serve': serve(socket.socket(fileno=int(sys.argv[2])))
    else:
        import subprocess
        with Warm() as warm: code = subprocess.run(sys.argv[1:], env={**os.environ, **warm.environment}).returncode
        sys.exit(code)
