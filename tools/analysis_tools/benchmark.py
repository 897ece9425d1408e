"""Old path of benchmarks/benchmark.py."""

from moved_to_benchmarks import run

if __name__ == '__main__':
    run(__file__)
