"What all tests share: the project's folder and its tools, a browser"
import atexit, os, re, shutil, sys, tempfile
from collections import Counter
from pathlib import Path
import pytest
from hypothesis import HealthCheck, settings

# A run of the tests says tomorrow what it says today, also on a slow machine. New examples: pytest --hypothesis-profile=default
settings.register_profile('repeatable', derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile('repeatable')

# What the lab remembers as trusted is the user's; the tests have a memory of their own, and so have the processes that they start
os.environ['XDG_STATE_HOME'] = tempfile.mkdtemp(prefix='upslope-state-')

def forget(folder=os.environ['XDG_STATE_HOME'], owner=os.getpid()):
    if os.getpid() == owner: shutil.rmtree(folder, ignore_errors=True)   # not a child that a test has forked
atexit.register(forget)

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT/'tools'), str(ROOT/'tests')]
import warm_workers

@pytest.fixture(scope='session')
def root(): return ROOT

@pytest.fixture(scope='module')
def browser():
    "Headless Chromium or Chrome, as the machine has it; nothing is downloaded"
    found = next(filter(None, map(shutil.which, ['chromium', 'chromium-browser', 'google-chrome'])), None)
    if not found: pytest.skip('no browser: apt-get install chromium')
    from playwright.sync_api import sync_playwright
    quiet = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync']
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=quiet)
        yield browser
        browser.close()

def pytest_configure(config):
    "The site and the wheel are built once, also by `pytest -n 2`: the tests of one group go to one process. Workers of the lab begin warm"
    if getattr(config.option, 'dist', 'no') == 'load': config.option.dist = 'loadgroup'
    if 'UPSLOPE_WARM' in os.environ: return
    global warm
    warm = warm_workers.Warm().__enter__()
    atexit.register(warm.__exit__)
    os.environ.update(warm.environment)
    if warm.environment: sys.path.insert(0, str(warm_workers.STARTED))   # a worker's path is that of the process that starts it

def rename(item, name):
    "pytest keeps a test's name in `_id` since 9.1, and in `_nodeid` before"
    if hasattr(item, '_id'): item._id = type(item._id).parse(name)
    else: item._nodeid = name

def pytest_collection_modifyitems(config, items):
    "A test's name must be the same in every process that pytest-xdist starts, so the address of an object in it is replaced by a count"
    seen = Counter()
    for item in items:
        name = re.sub(r' ?at ?0x[0-9a-f]+', '', item.nodeid)
        if name != item.nodeid:
            seen[name] += 1
            rename(item, name if seen[name] == 1 else f'{name}-{seen[name]}')
    if not getattr(config.option, 'loadgroup', False): return
    for item in items:   # pytest-xdist 3.8 writes the group into `_nodeid` alone: with pytest 9.1 and later every process would build the site
        group = item.get_closest_marker('xdist_group')
        if group and hasattr(item, '_id'): rename(item, f'{item.nodeid}@{group.args[0]}')

# -- what the tests cost: pytest --costs ------------------------------------------------------------------------------
def pytest_addoption(parser):
    parser.addoption('--costs', action='store_true', help='seconds of processor time of each file, and of the dearest tests')

warm = None   # in the process that has started them: the server of the lab's workers

def spent():
    "Seconds of processor time of this process, of the children that it has waited for, and of the workers of the lab that it lets begin warm"
    return sum(os.times()[:4]) + (warm.spent() if warm else 0)

@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    "Each part of a test (setup, call, teardown) carries what was spent since the part before it ended"
    global last_spent
    outcome = yield
    now = spent()
    outcome.get_result().cost,last_spent = now - last_spent,now

last_spent = spent()

def pytest_terminal_summary(terminalreporter, config):
    "Reports come here from every process that pytest-xdist starts"
    if not config.option.costs: return
    tests,files = Counter(),Counter()
    for reports in terminalreporter.stats.values():
        for report in reports:
            cost = getattr(report, 'cost', 0)
            if not cost: continue
            tests[report.nodeid] += cost
            files[report.nodeid.partition('::')[0]] += cost
    terminalreporter.section(f'costs: {sum(files.values()):.0f} s of processor time')
    if warm and config.getoption('numprocesses', None): terminalreporter.write_line(f'{warm.spent():8.1f} s  workers of the lab, in none of these')
    for counted in (files.most_common(), tests.most_common(40)):
        for name, cost in counted: terminalreporter.write_line(f'{cost:8.1f} s  {name}')
