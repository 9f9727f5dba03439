"What VS Code does: it shows the widgets itself and speaks with the kernel in messages alone, a click being one on the shell channel while a cell runs"
import os, re, time
from queue import Empty
import pytest
from jupyter_client.manager import start_new_kernel
from test_jupyter import FIT, PATIENCE

RUN = "learn.fit(100_000, 1e-3, cbs=live); print('kept', len(learn.recorder.rows) > 0, live.status)"

class FrontEnd:
    "Keeps the state of each widget, as a front end does, from the kernel's messages"
    def __init__(self, client): self.client,self.widgets,self.printed,self.shown = client,{},'',[]
    def hear(self, until):
        "Take in messages until `until()` is true"
        end = time.time() + PATIENCE
        while not until():
            assert time.time() < end, (self.line(), self.printed)
            try: message = self.client.get_iopub_msg(timeout=.2)
            except Empty: continue
            kind, content = message['msg_type'], message['content']
            if kind == 'comm_open': self.widgets[content['comm_id']] = dict(content['data'].get('state', {}))
            elif kind == 'comm_msg' and content['data'].get('method') == 'update': self.widgets.setdefault(content['comm_id'], {}).update(content['data']['state'])
            elif kind in ('display_data', 'update_display_data'): self.shown.append(content['data'])
            elif kind == 'stream': self.printed += content['text']
    def line(self):
        "The first line of the newest view, without its tags"
        views = [s['value'] for s in self.widgets.values() if 'upslope-live' in str(s.get('value', ''))]
        return re.sub('<[^>]*>', '', views[-1].partition('</div>')[0]) if views else ''
    def click(self, description):
        button = next(i for i, s in self.widgets.items() if s.get('description') == description)
        self.client.shell_channel.send(self.client.session.msg('comm_msg', dict(comm_id=button, data=dict(method='custom', content=dict(event='click')))))

@pytest.fixture(scope='module')
def client(root):
    manager, client = start_new_kernel(kernel_name='python3', env={**os.environ, 'PYTHONPATH': str(root), 'OMP_NUM_THREADS': '1'}, startup_timeout=PATIENCE)
    client.execute_interactive(FIT, timeout=PATIENCE)
    yield client
    client.stop_channels()
    manager.shutdown_kernel(now=True)

def test_a_fit_moves_pauses_and_stops_by_messages_alone(client):
    front = FrontEnd(client)
    client.execute(RUN)
    front.hear(lambda: re.match(r'training · epoch \d+ of 100000.*samples/s', front.line()))
    assert any('application/vnd.jupyter.widget-view+json' in data and 'upslope-live' in data['text/html'] for data in front.shown)
    first = front.line()
    front.hear(lambda: front.line() != first)
    front.click('Pause')
    front.hear(lambda: front.line().startswith('paused'))
    still, end = front.line(), time.time() + .8
    front.hear(lambda: time.time() > end)
    assert front.line() == still, 'it went on while paused'
    front.click('Go on')
    front.hear(lambda: front.line().startswith('training'))
    front.click('Stop')
    front.hear(lambda: 'kept True stopped' in front.printed)
    front.hear(lambda: front.line().startswith('stopped after'))
    assert 'application/vnd.jupyter.widget-view+json' not in front.shown[-1] and 'stopped after' in front.shown[-1]['text/html']   # what is kept needs no kernel

def test_an_interrupt_stops_a_fit_and_keeps_what_was_learned(client):
    "The button with the square, which VS Code sends on the control channel"
    front = FrontEnd(client)
    client.execute(RUN)
    front.hear(lambda: re.match(r'training · epoch (?!1 )', front.line()))   # one epoch has ended, and is kept
    client.control_channel.send(client.session.msg('interrupt_request', {}))
    front.hear(lambda: 'kept True stopped' in front.printed)

def test_a_click_while_the_view_is_being_drawn_is_shown_too():
    from threading import Timer
    from torch import nn
    from upslope.data import loaders, sources
    from upslope.surface import LiveLearner
    from upslope.train import Learner
    drawn = []
    class Clicked(LiveLearner):
        def _draw(self, now):
            drawn.append(self.paused)
            if len(drawn) <= 2: self.pause()   # while it is drawn; then, since it says so, go on
    live = Clicked()
    late = Timer(PATIENCE, live.stop)
    late.start()
    Learner(loaders(sources.digits()), nn.Sequential(nn.Flatten(), nn.Linear(64, 10)), 'cross_entropy', 'adam', verbose=False).fit(1, cbs=live)
    late.cancel()
    assert drawn[:2] == [False, True] and live.status == 'done', (drawn, live.status)
