"Every public layer of Keras is here, or the notebook says why it is not."
import json, re
from pathlib import Path
import keras
import upslope.layers as ours

notebook = Path(__file__).parents[2]/'nbs/02-layers/18_augmentation.ipynb'

def reasons():
    text = '\n'.join(''.join(c['source']) for c in json.loads(notebook.read_text(encoding='utf-8'))['cells'] if c['cell_type'] == 'markdown')
    return dict(re.findall(r'^- `(\w+)`: (.{20,})$', text.split("Keras's layers that are not here")[1], flags=re.M))

def test_every_layer_is_here_or_its_absence_is_explained():
    theirs = {n for n in dir(keras.layers) if isinstance(getattr(keras.layers, n), type) or n == 'Input'}
    assert len(theirs) > 100
    missing = {n for n in theirs if not hasattr(ours, n)}
    assert missing == set(reasons()), missing ^ set(reasons())
