"""Lets every script here import this clone's package and tools.

Imported first. The tools' folder lies in front, as for the tools themselves;
that of the analysis tools comes last, for it has scripts of the same names.
"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
if (ROOT / 'rfdetr_mm' / '__init__.py').is_file():
    sys.path.insert(0, str(ROOT))
sys.path.insert(0, str(ROOT / 'tools'))
sys.path.append(str(ROOT / 'tools' / 'analysis_tools'))
