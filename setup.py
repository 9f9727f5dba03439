"Hands settings.ini to setuptools; nothing is written here by hand."
from configparser import ConfigParser
from pathlib import Path
from setuptools import setup

root = Path(__file__).parent
parser = ConfigParser(delimiters=['='], interpolation=None)
parser.read(root/'settings.ini', encoding='utf-8')
ini = parser['DEFAULT']
STATUS = {'1': '1 - Planning', '2': '2 - Pre-Alpha', '3': '3 - Alpha', '4': '4 - Beta', '5': '5 - Production/Stable'}
readme = (root/'README.md').read_text(encoding='utf-8').replace('](nbs/', f"]({ini['git_url']}/raw/{ini['branch']}/nbs/")   # PyPI shows no relative links
def lines(key): return [line.strip() for line in ini.get(key, '').splitlines() if line.strip()]

extras = {key.removesuffix('_requirements'): lines(key) for key in ini if key.endswith('_requirements')}   # `all` gathers what a user may want

setup(
    version=ini['version'],
    long_description=readme, long_description_content_type='text/markdown',
    license_expression=ini['license'], license_files=['LICENSE'],
    author=ini['author'], author_email=ini['author_email'], keywords=ini['keywords'].split(),
    classifiers=[f"Development Status :: {STATUS[ini['status']]}", 'Intended Audience :: Science/Research', 'Framework :: Jupyter',
                 'Programming Language :: Python :: 3', *(f'Programming Language :: Python :: {v}' for v in ini['pythons'].split()), 'Topic :: Scientific/Engineering :: Artificial Intelligence'],
    install_requires=lines('requirements'),
    extras_require={**extras, 'all': list(dict.fromkeys(line for extra, needs in extras.items() if extra not in ('dev', 'bench') for line in needs))},
    entry_points={'console_scripts': lines('console_scripts'), 'nbdev': [f"{ini['lib_name']}={ini['lib_name']}._modidx:d"]},
)
