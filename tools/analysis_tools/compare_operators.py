"""Old path of benchmarks/compare_operators.py."""

from moved_to_benchmarks import run

if __name__ == '__main__':
    run(__file__)
