"""`make bench`: what a step, a picture, a start and a run cost, each against the same without us, in one run.

make bench                                   everything but the stock-size model (about 6 minutes on 2 cores)
make bench ARGS="steps --recipes lora"       one part
make bench ARGS="recipes"                    every recipe's step against the model passes that its maths needs
make bench ARGS="stock"                      the stock-size Stable Diffusion 1.5 (10 GB of memory, 15 minutes)
"""

import argparse

import report
import timing


def main():
    """Runs the named part, or all of them, and writes the table and the plot."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = (
        "all",
        "steps",
        "recipes",
        "generation",
        "startup",
        "many",
        "scripts",
        "stock",
        "memory",
        "peak",
        "report",
    )
    parser.add_argument("part", nargs="?", default="all", choices=parts)
    parser.add_argument("--recipes", nargs="+", help="recipe ids; by default every registered recipe")
    parser.add_argument("--rounds", type=int, default=120, help="steps to time (a tenth as many pictures), 120")
    parser.add_argument("--plan", help=argparse.SUPPRESS)
    given = parser.parse_args()
    from diffusers_persona import recipes

    names = given.recipes or [entry.id for entry in recipes.list(family="diffusion")]
    if given.part == "peak":
        import stock

        return stock.peak(names[0], given.plan)
    if given.part in ("all", "startup"):
        import startup

        startup.measure()
    if given.part in ("all", "steps"):
        import steps

        steps.toybox(names, given.rounds)
    if given.part == "recipes":
        import passes

        passes.toybox(names, min(given.rounds, 40))
    if given.part in ("all", "generation"):
        import generation

        generation.toybox(given.recipes or ["textual-inversion", "lora"], max(3, given.rounds // 10))
    if given.part in ("all", "many"):
        import many

        many.toybox(steps=max(4, given.rounds // 8))
    if given.part in ("all", "scripts"):
        import stock

        for name in given.recipes or ["textual-inversion", "lora"]:
            stock.step_time(name, given.rounds, host="toybox")
    if given.part == "stock":
        import stock

        for name in given.recipes or ["textual-inversion", "lora"]:
            stock.step_time(name, min(given.rounds, 4))
    if given.part in ("stock", "memory"):
        import stock

        for name in given.recipes or ["textual-inversion", "lora"]:
            stock.peak_memory(name)
    report.write(timing.read())


if __name__ == "__main__":
    main()
