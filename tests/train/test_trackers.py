"What TensorBoard, MLflow and Weights & Biases were given can be read back; nothing needs a network"
import re
from pathlib import Path

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

def test_wandb_offline(tmp_path, monkeypatch):
    wandb = pytest.importorskip('wandb')
    monkeypatch.setenv('WANDB_DATA_DIR', str(tmp_path)); monkeypatch.setenv('WANDB_CACHE_DIR', str(tmp_path)); monkeypatch.setenv('WANDB_CONFIG_DIR', str(tmp_path))
    logger = WandbLogger('digits', 'a', path=tmp_path)
    accuracy = fit(logger)
    found = list(tmp_path.glob('wandb/offline-run-*/run-*.wandb'))
    assert len(found) == 1
    written = [float(v) for v in re.findall(rb'accuracy[^0-9]{1,8}([0-9.e-]+)', found[0].read_bytes())]   # names and values stand in the file as text
    assert len(set(accuracy)) == 3 and all(any(v == pytest.approx(a) for v in written) for a in accuracy), (written, accuracy)
