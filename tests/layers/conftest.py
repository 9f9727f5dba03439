"Keras with its torch backend is the reference; without it these tests are skipped and say so."
import os
from importlib.util import find_spec
os.environ.setdefault('KERAS_BACKEND', 'torch')
import pytest, torch

torch.set_num_threads(1)

def pytest_collection_modifyitems(config, items):
    if not find_spec('keras'):
        for item in items:
            if 'keras' in item.fspath.basename: item.add_marker(pytest.mark.skip(reason='the keras package is not installed: pip install upslope[dev]'))
