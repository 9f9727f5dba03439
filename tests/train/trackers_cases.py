"What TensorBoard, MLflow and Weights & Biases were given can be read back; nothing needs a network"
import json, time

import pytest, torch
from torch import nn
from upslope.data import loaders, sources
from upslope.train import Learner, MLflowLogger, TensorBoardLogger, WandbLogger

def fit(*cbs):
    torch.manual_seed(0)
    learn = Learner(loaders(sources.digits(), pipeline='standardize'), nn.Sequential(nn.Flatten(), nn.Linear(64, 10)), 'cross_entropy', 'adam', metrics='accuracy', verbose=False)
    learn.fit(3, 1e-2, cbs=list(cbs))
    return [r['accuracy'] for r in learn.recorder.rows]

def test_tensorboard(tmp_path):
    pytest.importorskip('tensorboard')
    accuracy = fit(TensorBoardLogger(tmp_path))
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    events = EventAccumulator(str(tmp_path)).Reload()
    read = events.Scalars('accuracy')
    assert [e.step for e in read] == [0, 1, 2] and [e.value for e in read] == pytest.approx(accuracy)

def test_mlflow(tmp_path, monkeypatch):
    pytest.importorskip('mlflow')
    monkeypatch.setenv('MLFLOW_ALLOW_FILE_STORE', 'true')
    uri = (tmp_path/'runs').as_uri()
    logger = MLflowLogger('digits', run='a', uri=uri, params=dict(lr=.01))
    accuracy = fit(logger)
    run = logger.client.get_run(logger.run_id)
    assert [m.value for m in logger.client.get_metric_history(logger.run_id, 'accuracy')] == pytest.approx(accuracy)
    assert run.info.status == 'FINISHED' and run.data.params == {'lr': '0.01'} and run.info.run_name == 'a'

def wandb_history(path):
    "The rows that were logged into the file of an offline run: protocol buffers in LevelDB's log format, blocks of 32 KiB after seven bytes of header"
    from wandb.proto.wandb_internal_pb2 import Record
    data,at,part,rows = path.read_bytes(),7,b'',[]
    while at + 7 <= len(data):
        left = 32768 - at % 32768
        if left < 7: at += left; continue
        length,kind = int.from_bytes(data[at+4:at+6], 'little'),data[at+6]   # after a checksum of four bytes; 1: whole, 2: first, 3: middle, 4: last part
        part,at = part*(kind in (3, 4)) + data[at+7:at+7+length],at + 7 + length
        if kind not in (1, 4): continue
        record = Record.FromString(part)
        if record.WhichOneof('record_type') == 'history': rows.append({i.key or '/'.join(i.nested_key): json.loads(i.value_json) for i in record.history.item})
    return rows

def test_wandb_offline(tmp_path, monkeypatch):
    pytest.importorskip('wandb')
    for name in ('DATA', 'CACHE', 'CONFIG'): monkeypatch.setenv(f'WANDB_{name}_DIR', str(tmp_path))
    accuracy = fit(WandbLogger('digits', 'a', path=tmp_path))
    found = list(tmp_path.glob('wandb/offline-run-*/run-*.wandb'))
    assert len(found) == 1
    until = time.monotonic() + 30   # another process of wandb's writes the file; on a busy machine it may come after us
    while len(rows := wandb_history(found[0])) < 3 and time.monotonic() < until: time.sleep(.2)
    assert [r['_step'] for r in rows] == [0, 1, 2] and [r['accuracy'] for r in rows] == pytest.approx(accuracy), rows

# --- killed and resumed
def killed_and_resumed(folder, make):
    "Two epochs are written, the second after the last checkpoint; kill -9; a second process goes on to the end"
    import os, signal
    from fastai.callback.core import Callback
    from upslope.train import Checkpoint, launch
    class Dies(Callback):
        order = 500   # after the loggers, before the checkpoint of the epoch
        def state_dict(self): return {}
        def load_state_dict(self, state): pass
        def after_epoch(self):
            if self.learn.epoch == 1 and self.die: os.kill(os.getpid(), signal.SIGKILL)
    def go(die):
        logger,dies = make(),Dies()
        dies.die = die
        return fit(logger, Checkpoint(folder/'run'), dies), getattr(logger, 'run_id', None)
    with pytest.raises(RuntimeError, match='signal SIGKILL'): launch(go, True, processes=1)
    return launch(go, False, processes=1)[0]

def test_tensorboard_is_resumed(tmp_path):
    pytest.importorskip('tensorboard')
    accuracy, _ = killed_and_resumed(tmp_path, lambda: TensorBoardLogger(tmp_path/'tb'))
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    read = EventAccumulator(str(tmp_path/'tb')).Reload().Scalars('accuracy')
    assert [e.step for e in read] == [0, 1, 2] and [e.value for e in read] == pytest.approx(accuracy)

def test_sqlite_is_resumed(tmp_path):
    import sqlite3
    from upslope.train import SQLiteLogger
    accuracy, _ = killed_and_resumed(tmp_path, lambda: SQLiteLogger(tmp_path/'h.db', run='a'))
    rows = sqlite3.connect(tmp_path/'h.db').execute("SELECT epoch, value FROM history WHERE metric='accuracy' ORDER BY epoch").fetchall()
    assert [e for e, _ in rows] == [0, 1, 2] and [v for _, v in rows] == pytest.approx(accuracy)

def test_mlflow_is_resumed(tmp_path, monkeypatch):
    pytest.importorskip('mlflow')
    monkeypatch.setenv('MLFLOW_ALLOW_FILE_STORE', 'true')
    uri = (tmp_path/'runs').as_uri()
    accuracy, run_id = killed_and_resumed(tmp_path, lambda: MLflowLogger('digits', run='a', uri=uri))
    from mlflow.tracking import MlflowClient
    client = MlflowClient(uri)
    assert [r.info.run_id for r in client.search_runs([client.get_experiment_by_name('digits').experiment_id])] == [run_id]   # one run, not two
    history = client.get_metric_history(run_id, 'accuracy')
    assert [m.step for m in history] == [0, 1, 2] and [m.value for m in history] == pytest.approx(accuracy) and client.get_run(run_id).info.status == 'FINISHED'

def test_wandb_offline_is_resumed(tmp_path, monkeypatch):
    pytest.importorskip('wandb')
    for name in ('DATA', 'CACHE', 'CONFIG'): monkeypatch.setenv(f'WANDB_{name}_DIR', str(tmp_path))
    __import__('wandb').teardown()   # a service that outlives the kill is not what a new process meets
    accuracy, run_id = killed_and_resumed(tmp_path, lambda: WandbLogger('digits', 'a', path=tmp_path))
    until,read = time.monotonic() + 30,{}
    while len(read) < 3 and time.monotonic() < until:
        files = sorted(tmp_path.glob('wandb/offline-run-*/run-*.wandb'))
        read = {r['_step']: r['accuracy'] for r in wandb_history(files[-1])} if files else {}   # the second part has all rows
        time.sleep(.2)
    assert {f.name for f in files} == {f'run-{run_id}.wandb'} and len(files) == 2   # one run in two parts, which `wandb sync` joins
    assert [read[i] for i in range(3)] == pytest.approx(accuracy)
