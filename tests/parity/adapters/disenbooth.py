"""DisenBooth: the image adapter, and the cosine that parts text and picture."""

from diffusers_persona.functional.image_branch import masked_residual, mean_text_cosine

RECIPE = "disenbooth"


def run(case, config, t):
    """Pictures two at a time; the official cosine is the mean over the batch."""
    weights = {name.removeprefix("weights/"): value for name, value in t.items() if name.startswith("weights/")}
    adapted = masked_residual(t["feature"], weights)
    return {"adapted": adapted, "cos": mean_text_cosine(t["text"], adapted, eps=config["cos"]["eps"]).mean()}
