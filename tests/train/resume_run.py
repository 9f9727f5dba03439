"Runs a text as a script in a process that has loaded everything it imports: the server that makes such processes loads this file first"
import os, random, sys
import numpy, sklearn.datasets, torch   # noqa: F401
import upslope.data, upslope.train.checkpoint   # noqa: F401

def run(text, arguments, out, error):
    "The whole life of the process: the script, with its arguments, its output and its errors in files, and with chance of its own"
    for number, path in ((1, out), (2, error)):
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(file, number)
        os.close(file)
    sys.stdout, sys.stderr = os.fdopen(1, 'w', closefd=False), os.fdopen(2, 'w', closefd=False)
    sys.argv[:] = ['-c', *arguments]
    random.seed()
    numpy.random.seed()
    torch.seed()
    exec(compile(text, 'run', 'exec'), dict(__name__='__main__'))
    sys.stdout.flush()
