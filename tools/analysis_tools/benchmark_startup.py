"""Old path of benchmarks/benchmark_startup.py."""

from moved_to_benchmarks import run

if __name__ == '__main__':
    run(__file__)
