"""The model card of a concept: what the Hub shows, and what a stranger needs to use the folder. Loads no torch."""

import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .errors import PersonaError

_TEMPLATES = (Path(__file__).parent / "hub_cards", Path(__file__).parent.parent / "hub_cards")
_PICTURES = (".png", ".jpg", ".jpeg", ".webp")
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
_HUB_LICENCES = frozenset(
    "apache-2.0 mit openrail openrail++ creativeml-openrail-m cc0-1.0 cc-by-4.0 cc-by-sa-4.0 cc-by-nc-4.0 "
    "cc-by-nc-sa-4.0 cc-by-nc-nd-4.0 cc-by-nd-4.0 bsd-3-clause gpl-3.0 unlicense".split()
)
_STOCK_FILES = {
    "learned_embeds.safetensors": "pipe.load_textual_inversion({repo}, weight_name={file}, token={token})",
    "pytorch_lora_weights.safetensors": "pipe.load_lora_weights({repo}, weight_name={file})",
    "pytorch_custom_diffusion_weights.safetensors": "pipe.unet.load_attn_procs({repo}, weight_name={file})",
    "ip_adapter.safetensors": 'pipe.load_ip_adapter({repo}, subfolder="", weight_name={file})',
}
_STOCK_OF_SPACE = {
    "word": "learned_embeds.safetensors",
    "low_rank": "pytorch_lora_weights.safetensors",
    "key_weights": "pytorch_custom_diffusion_weights.safetensors",
}
_STOCK_TAGS = {
    "learned_embeds.safetensors": "textual_inversion",
    "pytorch_lora_weights.safetensors": "lora",
    "pytorch_custom_diffusion_weights.safetensors": "custom-diffusion",
}


def template_path() -> Path:
    """The card template: inside the installed package, or beside it in a source checkout.

    Raises:
        PersonaError: it is in neither place.
    """
    for folder in _TEMPLATES:
        if (folder / "concept.md").is_file():
            return folder / "concept.md"
    raise PersonaError(f"the card template concept.md is missing from {_TEMPLATES[0]}: reinstall diffusers-persona")


def phrase_of(header: Mapping[str, Any]) -> str:
    """The words that call the concept in a prompt, e.g. ``"<toy>"`` or ``"sks dog"``."""
    return header.get("phrase") or header["token"]


def base_name(header: Mapping[str, Any]) -> str:
    """What a concept's header calls its base model: ``"toybox"``, a Hub id, a folder's name, or nothing."""
    return str((header.get("base_model") or {}).get("name") or "")


def render_card(
    header: Mapping[str, Any],
    *,
    files: Sequence[str] = (),
    repo: str = "PATH_OR_REPO",
    entry: Any = None,
    scores: Mapping[str, Any] | None = None,
) -> str:
    """Write the card of a concept as Markdown with the Hub's YAML front matter.

    Args:
        header: the concept's header, as in ``concept.json``.
        files: names of the files beside it, relative to the folder; previews and stock formats are recognised.
        repo: what a reader types to load it: a Hub id or a path.
        entry: the recipe's `RecipeEntry`; adds title, paper and departures.
        scores: measured numbers to show, name -> value.

    Returns:
        the text of README.md.
    """
    from huggingface_hub import ModelCard

    phrase = phrase_of(header)
    previews = sorted(name for name in files if name.lower().endswith(_PICTURES))[:6]
    stock = [name for name in _STOCK_FILES if name in files]
    base = header.get("base_model") or {}
    base_id = base_name(header) or "PATH_OR_ID_OF_THE_BASE_MODEL"
    prompt = f"a photo of a {phrase} on the beach" if header.get("kind") != "style" else f"a {phrase} of a cat"
    person = header.get("kind") == "person"
    kinds = [space["kind"] for space in header.get("spaces") or ()]
    body = {
        "title": f"{_plain(header.get('noun') or header.get('kind') or 'concept')}: {_code(phrase)}",
        "summary": _summary(header, phrase, base_id),
        "previews": previews,
        "without_stock": [kind for kind in kinds if _STOCK_OF_SPACE.get(kind) not in stock],
        "stock": [_stock_line(name, repo, header["token"]) for name in stock],
        "load_base": "toybox.load()"
        if base_id == "toybox"
        else f"DiffusionPipeline.from_pretrained({_literal(base_id)})",
        "base_import": "from diffusers_persona import toybox"
        if base_id == "toybox"
        else "from diffusers import DiffusionPipeline",
        "repo_literal": _literal(repo),
        "prompt_literal": _literal(prompt),
        "repo_shell": _shell(repo),
        "base_shell": _shell(base_id),
        "prompt_shell": _shell(prompt),
        "facts": _facts(header, phrase, base, base_id, entry),
        "paper": f"[{entry.name}](https://arxiv.org/abs/{entry.paper})" if entry and entry.paper else "",
        "departures": entry.departures if entry else "",
        "numbers": [(name, json.dumps(value)) for name, value in (header.get("numbers") or {}).items()],
        "training": _training(header),
        "scores": list((scores or {}).items()),
        "person": person,
        **_rights(header, person),
    }
    data = _metadata(header, phrase, base_id, previews, prompt, stock)
    text = str(ModelCard.from_template(data, template_path=str(template_path()), **body))
    return re.sub(r"\n{3,}", "\n\n", text).rstrip() + "\n"


def write_card(folder: str | os.PathLike, **options) -> Path:
    """Write README.md into a concept folder from its ``concept.json`` (atomically) and return its path.

    Args:
        folder: a saved concept.
        options: `repo`, `entry`, `scores` as in `render_card`.

    Raises:
        PersonaError: the folder has no readable ``concept.json``.
    """
    folder = Path(folder)
    header_file = folder / "concept.json"
    try:
        header = json.loads(header_file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise PersonaError(f"{folder} is no concept: it has no concept.json; save the concept there first") from None
    except ValueError as error:
        raise PersonaError(f"{header_file} is not valid JSON ({error}); save the concept again") from None
    files = [path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*")) if path.is_file()]
    target = folder / "README.md"
    partial = folder / ".README.md.partial"
    partial.write_text(render_card(header, files=files, **options), encoding="utf-8")
    os.replace(partial, target)
    return target


def _metadata(header, phrase, base_id, previews, prompt, stock):
    from huggingface_hub import ModelCardData

    licence = str(header.get("licence") or "").strip()
    extra: dict[str, Any] = {}
    if licence:
        known = licence.lower() in _HUB_LICENCES
        extra = {"license": licence.lower()} if known else {"license": "other", "license_name": licence}
    if _HUB_ID.fullmatch(base_id):
        extra |= {"base_model": base_id, "base_model_relation": "adapter"}
    if previews:
        extra["widget"] = [{"text": prompt, "output": {"url": name}} for name in previews]
    tags = [
        "text-to-image",
        "diffusers",
        "diffusers-persona",
        str(header.get("recipe", "")),
        str(header.get("kind", "")),
    ]
    tags += [_STOCK_TAGS[name] for name in stock if name in _STOCK_TAGS]
    return ModelCardData(
        library_name="diffusers",
        pipeline_tag="text-to-image",
        tags=[tag for tag in dict.fromkeys(tags) if tag],
        instance_prompt=f"a {phrase}",
        **extra,
    )


def _summary(header, phrase, base_id) -> str:
    images = (header.get("training") or {}).get("images") or ()
    count = {0: "a few pictures", 1: "one picture"}.get(len(images), f"{len(images)} pictures")
    what = header.get("noun") or header.get("kind") or "concept"
    return (
        f"A personal concept ({_plain(what)}) for text-to-image pipelines, learned from {count} "
        f"with the recipe `{header.get('recipe', 'unknown')}`. Write {_code(phrase)} in a prompt to call it. "
        f"Base model: {_code(base_id)}."
    )


def _facts(header, phrase, base, base_id, entry) -> list[tuple[str, str]]:
    rows = [
        ("recipe", _code(header.get("recipe"))),
        ("method", _plain(entry.name) if entry else ""),
        ("kind", _code(header.get("kind"))),
        ("noun", _code(header.get("noun"))),
        ("token", _code(header.get("token"))),
        ("prompt phrase", _code(phrase)),
        ("spaces", ", ".join(_code(space["kind"]) for space in header.get("spaces") or ())),
        ("base model", _code(base_id)),
        ("pipeline class", _code(base.get("pipeline"))),
        ("fingerprint of the base", _code(base.get("fingerprint"))),
        ("schema version", _code(header.get("schema_version"))),
        ("made with", ", ".join(f"{_plain(k)} {_plain(v)}" for k, v in (header.get("versions") or {}).items())),
    ]
    return [(name, value) for name, value in rows if value]


def _training(header) -> list[tuple[str, str]]:
    """The training record without what is long: the loss curve becomes its two ends, pictures their number."""
    record = dict(header.get("training") or {})
    curve, images = record.pop("loss_curve", None), record.pop("images", None)
    record.pop("declaration", None)
    if curve:
        record["loss, first and last"] = f"{curve[0]}, {curve[-1]}"
    if images:
        record["pictures"] = len(images)
    return [(name, _plain(value)) for name, value in record.items()]


def _rights(header, person) -> dict[str, str]:
    licence, consent = header.get("licence"), header.get("consent")
    return {
        "licence_note": f"Licence of the concept: {_code(licence)}."
        if licence
        else "No licence is stated: ask the author before you use it.",
        "consent_note": f"Provenance and consent, as stated by the author: {_plain(consent)}."
        if consent
        else ("No consent is recorded: do not publish it." if person else "No provenance of the pictures is stated."),
    }


def _stock_line(name, repo, token) -> str:
    return _STOCK_FILES[name].format(repo=_literal(repo), file=_literal(name), token=_literal(token))


def _plain(value: Any) -> str:
    """A value as one line of Markdown text: no table breaks, no tags."""
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    return re.sub(r"[|`<>\[\]]", " ", " ".join(text.split()))


def _code(value: Any) -> str:
    """A value as inline code, so that ``<toy>`` is no HTML tag; nothing for a missing value."""
    if value is None or value == "":
        return ""
    return "`" + re.sub(r"[|`]", " ", " ".join(str(value).split())) + "`"


def _literal(text: str) -> str:
    """A string as a Python literal."""
    return json.dumps(text, ensure_ascii=False)


def _shell(text: str) -> str:
    """A string as one shell word."""
    return text if re.fullmatch(r"[\w./-]+", text) else "'" + text.replace("'", "'\\''") + "'"
