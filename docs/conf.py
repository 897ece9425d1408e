"""Settings of the site; `make docs` copies this file beside the pages.

See tools/dev/website/build.py.
"""

import os
import runpy
from pathlib import Path

# The pages are assembled in build/site/source of the clone.
ROOT = Path(__file__).resolve().parents[3]

project = 'rfdetr_mm'
author = 'the maintainers of rfdetr_mm'
copyright = author  # noqa: A001
release = runpy.run_path(str(ROOT / 'rfdetr_mm_light' / 'version.py'))[
    '__version__'
]
extensions = [
    'myst_parser',
    'sphinx_design',
    'sphinx_copybutton',
    'sphinx.ext.napoleon',
    'autoapi.extension',
]

myst_enable_extensions = ['colon_fence']
myst_heading_anchors = 4
suppress_warnings = [
    # Modules that the reference leaves out
    'autoapi.python_import_resolution',
    # Short names that several of our modules have, such as Detections
    'ref.python',
]

# The reference is read from the sources, without importing anything.
autoapi_dirs = [
    str(ROOT / name)
    for name in ('rfdetr_mm', 'rfdetr_mm_light', 'rfdetr_runtime')
]
autoapi_root = 'api'
autoapi_options = ['members', 'undoc-members', 'show-module-summary']
autoapi_add_toctree_entry = False
autoapi_keep_files = False
autoapi_python_class_content = 'both'
autoapi_ignore = [
    '*/.mim/*',
    '*/moved.py',
    '*/command_line/*',
    # What the documented rooms are built from
    '*/models/autograd/*',
    '*/models/loading/*',
    '*/rfdetr_mm/operators/*',
    '*/deploy/tensorrt/*',
    '*/deploy/tflite/*',
    '*/runtime/sessions/*',
]
# An attribute of a class is described where its docstring describes it.
napoleon_use_ivar = True
# Names of other packages are not looked up; ours must be there.
nitpick_ignore_regex = [(r'py:.*', r'(?!rfdetr_).*')]

html_theme = 'furo'
html_title = f'rfdetr_mm {release}'
html_static_path = ['_static']
html_css_files = ['site.css']
html_theme_options = {
    'light_css_variables': {
        'color-brand-primary': '#5b4bc4',
        'color-brand-content': '#5b4bc4',
    },
    'dark_css_variables': {
        'color-brand-primary': '#a99df5',
        'color-brand-content': '#a99df5',
    },
}
copybutton_exclude = '.linenos, .gp, .go'

# External links are asked for by `make docs-links`.
linkcheck_timeout = 20
linkcheck_retries = 2
if os.environ.get('GITHUB_ACTIONS'):
    linkcheck_rate_limit_timeout = 60


def resolve_short_name(app, env, node, contnode):
    """Find a name that a package hands on from one of its modules.

    ``rfdetr_mm.checkpoints.read_checkpoint`` is described where it is written,
    as ``rfdetr_mm.checkpoints.reader.read_checkpoint``.
    """
    target = node.get('reftarget', '')
    if node.get('refdomain') != 'py' or not target.startswith('rfdetr_'):
        return None
    domain = env.get_domain('py')
    package, _, last = target.rpartition('.')
    found = {
        name
        for name in domain.objects
        if name.endswith(f'.{last}') and name.startswith(f'{package}.')
    }
    if not found:  # handed on by another package
        found = {n for n in domain.objects if n.endswith(f'.{last}')}
    if len(found) != 1:
        return None
    return domain.resolve_xref(
        env, node['refdoc'], app.builder, 'obj', found.pop(), node, contnode
    )


def setup(app):
    """Called by Sphinx."""
    app.connect('missing-reference', resolve_short_name)
