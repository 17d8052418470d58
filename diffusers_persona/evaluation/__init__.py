"""How well a concept was learned, and whether the prompt still rules: metrics, intervals, benchmarks, tables and
plots.

The submodules are imported by name (`from diffusers_persona.evaluation import toybench`); this package itself loads
nothing.
"""
