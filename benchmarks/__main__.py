"""`python -m benchmarks`; see `benchmarks.cli`."""

if __name__ == "__main__":
    # Not above: the processes that are spawned for loads import this module again, and need nothing of it.
    from benchmarks.cli import main

    main()
