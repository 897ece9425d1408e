"""The processes of a Ray that a test has started, by their parents."""

import os
from pathlib import Path


def descendants(pid):
    """Process id to command line of all children and theirs."""
    children, words = {}, {}
    for folder in Path('/proc').glob('[0-9]*'):
        try:
            stat = (folder / 'stat').read_text()
            line = (folder / 'cmdline').read_bytes()
        except OSError:
            continue  # it has ended
        state, parent = stat.rpartition(')')[2].split()[:2]
        if state != 'Z':
            children.setdefault(int(parent), []).append(int(folder.name))
            words[int(folder.name)] = line.replace(b'\0', b' ').decode()
    found, waiting = {}, [pid]
    while waiting:
        for child in children.get(waiting.pop(), ()):
            found[child] = words[child]
            waiting.append(child)
    return found


def workers(name):
    """Ids of Ray's workers that run something with ``name`` in its title.

    They are children of this process, unless it found a Ray that ran before.
    """
    parent = 1 if os.environ.get('RAY_ADDRESS') else os.getpid()
    return [
        child
        for child, title in sorted(descendants(parent).items())
        if title.startswith('ray::') and name in title
    ]
