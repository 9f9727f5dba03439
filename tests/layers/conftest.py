"Keras 3.15 with its torch backend is the reference; without it these tests are skipped and say so. It needs Python 3.11"
import os
from importlib.metadata import PackageNotFoundError, version
os.environ.setdefault('KERAS_BACKEND', 'torch')
import pytest, torch

torch.set_num_threads(1)

def lacking():
    "Why Keras cannot be the reference here; None: it can"
    try: have = version('keras')
    except PackageNotFoundError: return 'the keras package is not installed: pip install upslope[dev]'
    if tuple(map(int, have.split('.')[:2])) < (3, 15): return f'Keras {have} does some things in another way than 3.15, the reference'

def pytest_collection_modifyitems(config, items):
    if why := lacking():
        for item in items:
            if item.fspath.dirname == os.path.dirname(__file__) and ('keras' in item.fspath.basename or item.fspath.basename == 'test_properties.py'): item.add_marker(pytest.mark.skip(reason=why))
