"""A worker of the lab begins where everything is loaded already; Python imports this file at its start, if its folder is on PYTHONPATH.

`python -m upslope.lab.planner` hands its arguments, environment and open files to the server that $UPSLOPE_WARM names (tests/warm_workers.py),
waits for the end of the child that the server forks, and ends as the child did. Killed, it takes the child with it.
"""
import os, sys

def hand_over(address):
    "Come back only if there is no server, or if this process has limits of its own that a child of another would not have"
    import json, resource, signal, socket
    limits = resource.RLIMIT_AS, resource.RLIMIT_FSIZE
    if any(resource.getrlimit(limit)[0] != resource.RLIM_INFINITY for limit in limits): return
    server = socket.socket(socket.AF_UNIX)
    order = json.dumps(dict(arguments=sys.orig_argv[3:], environment=dict(os.environ), folder=os.getcwd())).encode()
    try:
        server.connect(address)
        socket.send_fds(server, [len(order).to_bytes(8, 'little')], [0, 1, 2])
    except OSError: return
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    server.sendall(order)
    code = int(server.makefile().readline() or 1)
    if code < 0:
        if -code != signal.SIGKILL: signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code)

if 'UPSLOPE_WARM' in os.environ and sys.orig_argv[1:3] == ['-m', 'upslope.lab.planner']: hand_over(os.environ['UPSLOPE_WARM'])
