"""The proxy beside its peers: same load, same back ends, one run. `python -m bench --help`.

- `tools`: which programs are needed and how to get them;
- `private`: a network namespace of its own for the whole run;
- `peers`: each proxy's configuration; `backends`: what they balance over;
- `load`: the generators' command lines and what they print;
- `measure`: CPU and memory of processes; `held`: connections and streams held open for that;
- `cases`, `rounds`: what is run, in which order;
- `summary`, `goals`, `report`, `picture`: raw data → ratios → text.

Nothing here is part of the lab or of the proxy, and neither knows it.
"""
