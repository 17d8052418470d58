"""The protocols read other people's layouts, execute nothing, and say where to get what is missing."""

import json

import pytest
from PIL import Image

from diffusers_persona.errors import PersonaError
from diffusers_persona.evaluation.protocols import FOLDER, PROTOCOLS, dreambench, dreambench_plus, protocol

TABLE = """Classes

subject_name,class
toy_robot,toy
old_dog,dog
plush,stuffed animal

Prompts

Object Prompts

prompt_list = [
'a {0} {1} in a box'.format(unique_token, class_token),
'an old {0} {1}'.format(unique_token, class_token)
]

Live Subject Prompts

prompt_list = [
'a {0} {1} wearing a child\\'s hat'.format(unique_token, class_token),
]
"""


def picture(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8)).save(path)


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def templates(subject):
    return [prompt.template for prompt in subject.prompts]


class TestDreamBench:
    @pytest.fixture
    def data(self, tmp_path):
        write(tmp_path / "prompts_and_classes.txt", TABLE)
        for name in ("toy_robot/00.jpg", "toy_robot/01.jpg", "old_dog/00.jpg"):
            picture(tmp_path / name)
        write(tmp_path / "old_dog" / "notes.txt", "no picture")
        return tmp_path

    def test_each_subject_gets_the_prompts_of_its_kind(self, data):
        robot, dog = PROTOCOLS["dreambench"].subjects(data)
        assert (robot.name, robot.kind, robot.noun, len(robot.references)) == ("toy_robot", "object", "toy", 2)
        assert templates(robot) == ["a {} in a box", "an old {}"]
        assert (dog.kind, templates(dog)) == ("live", ["a {} wearing a child's hat"])
        assert [path.name for path in dog.references] == ["00.jpg"]

    def test_the_checkout_of_the_repository_does_as_well(self, data, tmp_path_factory):
        checkout = tmp_path_factory.mktemp("dreambooth")
        data.rename(checkout / "dataset")
        assert len(PROTOCOLS["dreambench"].subjects(checkout)) == 2

    def test_classes_of_several_words_are_read(self):
        classes, _ = dreambench.parse(TABLE)
        assert classes == {"toy_robot": "toy", "old_dog": "dog", "plush": "stuffed animal"}

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (("Live Subject Prompts", "Other"), "no list 'Live Subject Prompts'"),
            (("toy_robot,toy\nold_dog,dog\nplush,stuffed animal", ""), "no table of classes"),
            (("'a {0} {1} in a box'", "'a {1} in a box'"), r"'a \{1\} in a box' needs"),
        ],
    )
    def test_a_text_that_is_something_else_is_refused(self, change, message):
        with pytest.raises(PersonaError, match=message):
            dreambench.parse(TABLE.replace(*change))

    def test_python_in_the_text_stays_text(self, data, tmp_path):
        evil = "'a {0} {1} in a box'.format(__import__('pathlib').Path('OWNED').touch())"
        write(
            data / "prompts_and_classes.txt", TABLE.replace("'an old {0} {1}'.format(unique_token, class_token)", evil)
        )
        robot, _ = PROTOCOLS["dreambench"].subjects(data)
        assert templates(robot) == ["a {} in a box"]


class TestDreamBenchPlus:
    def test_a_picture_is_a_subject_with_the_prompts_beside_it(self, tmp_path):
        picture(tmp_path / "data/images/animal/03.jpg")
        picture(tmp_path / "data/images/style/00.jpg")
        write(tmp_path / "data/captions/animal/03.txt", "owl\nan owl at night\nA painting of the Owl.\n")
        write(tmp_path / "data/captions/style/00.txt", "ink drawing\nan ink drawing of a cat\n")
        owl, style = PROTOCOLS["dreambench++"].subjects(tmp_path)
        assert (owl.name, owl.kind, owl.noun, len(owl.references)) == ("animal_03_owl", "live", "owl", 1)
        assert templates(owl) == ["a {} at night", "A painting of the {}."]
        assert (style.name, style.kind) == ("style_00_ink_drawing", "style")

    @pytest.mark.parametrize(
        ("lines", "message"), [(["owl"], "has 1"), (["owl", "a cowl at night"], "does not mention the subject 'owl'")]
    )
    def test_a_caption_that_does_not_fit_is_named(self, lines, message):
        with pytest.raises(PersonaError, match=message):
            dreambench_plus.parse(lines, "03.txt")

    def test_a_picture_without_its_text_is_named(self, tmp_path):
        picture(tmp_path / "images/object/00.jpg")
        with pytest.raises(PersonaError, match=r"captions/object/00\.txt.*No such file"):
            PROTOCOLS["dreambench++"].subjects(tmp_path)


class TestCustomConcept101:
    @pytest.fixture
    def data(self, tmp_path):
        def entry(noun, folder, **more):
            return {"class_prompt": noun, "instance_data_dir": f"./benchmark_dataset/{folder}"} | more

        single = [
            entry("barn", "scene_barn", prompt_filename="prompts/barn.txt"),
            entry("cat", "pet_cat1", prompt_filename="prompts/barn.txt"),
            entry("chair", "not_there", prompt_filename="prompts/barn.txt"),
        ]
        pair = [[*single[:2], {"prompt_filename_compose": "prompts/both.txt"}]]
        write(tmp_path / "dataset.json", json.dumps(single))
        write(tmp_path / "dataset_multiconcept.json", json.dumps(pair))
        write(tmp_path / "prompts/barn.txt", "photo of a {}.\n{} at night. \n\n")
        write(tmp_path / "prompts/both.txt", "the {1} in front of the {0}.\n")
        for name in ("scene_barn/1.jpg", "pet_cat1/1.jpeg", "pet_cat1/2.png"):
            picture(tmp_path / "benchmark_dataset" / name)
        return tmp_path

    def test_concepts_whose_pictures_are_there(self, data):
        barn, cat = PROTOCOLS["customconcept101"].subjects(data)
        assert (barn.name, barn.noun, barn.kind) == ("scene_barn", "barn", "object")
        assert templates(barn) == ["photo of a {}.", "{} at night."]
        assert (cat.kind, len(cat.references)) == ("live", 2)

    def test_pairs_are_two_concepts_with_prompts_for_both(self, data):
        (pair,) = PROTOCOLS["customconcept101-pairs"].subjects(data)
        assert pair.name == "scene_barn+pet_cat1" and pair.noun == "barn and cat"
        assert [part.noun for part in pair.parts] == ["barn", "cat"]
        assert templates(pair) == ["the {1} in front of the {0}."]

    def test_no_path_leads_out_of_the_folder(self, data):
        text = (data / "dataset.json").read_text().replace("./benchmark_dataset/scene_barn", "../elsewhere")
        (data / "dataset.json").write_text(text)
        with pytest.raises(PersonaError, match="points outside"):
            PROTOCOLS["customconcept101"].subjects(data)

    @pytest.mark.parametrize(
        ("content", "message"),
        [("{", "not JSON"), ("{}", "no list"), ('[{"class_prompt": "x"}]', "lacks instance_data_dir")],
    )
    def test_a_damaged_list_is_named(self, data, content, message):
        (data / "dataset.json").write_text(content)
        with pytest.raises(PersonaError, match=message):
            PROTOCOLS["customconcept101"].subjects(data)

    def test_a_prompt_without_a_place_is_named(self, data):
        write(data / "prompts/both.txt", "the {0} alone\n")
        with pytest.raises(PersonaError, match=r"the prompt 'the \{0\} alone' needs \{0\} and \{1\}"):
            PROTOCOLS["customconcept101-pairs"].subjects(data)


class TestFolder:
    def test_pictures_right_inside_are_one_subject(self, tmp_path):
        picture(tmp_path / "my_cup" / "1.png")
        (cup,) = FOLDER.subjects(tmp_path / "my_cup")
        assert (cup.name, cup.noun, cup.kind) == ("my_cup", "my cup", "object")
        assert all(template.count("{}") == 1 for template in templates(cup))

    def test_folders_are_subjects_with_classes_and_prompts(self, tmp_path):
        picture(tmp_path / "rex/1.png")
        picture(tmp_path / "anna/1.png")
        write(tmp_path / "classes.txt", "rex,dog,live\nanna,woman,person\n")
        write(tmp_path / "prompts.txt", "a {} at sea\n")
        write(tmp_path / "anna/prompts.txt", "a {} laughing\na {} at work\n")
        anna, rex = FOLDER.subjects(tmp_path)
        assert (anna.noun, anna.kind, templates(anna)) == ("woman", "person", ["a {} laughing", "a {} at work"])
        assert (rex.noun, rex.kind, templates(rex)) == ("dog", "live", ["a {} at sea"])

    @pytest.mark.parametrize(
        ("file", "content", "message"),
        [
            ("prompts.txt", "a picture\n", "needs {} exactly once"),
            ("classes.txt", "rex\n", "is not name,noun"),
            ("classes.txt", "rex,dog,ghost\n", "kinds: object, live"),
            ("classes.txt", "max,dog\n", "no folder with pictures is called max"),
        ],
    )
    def test_what_does_not_fit_is_named(self, tmp_path, file, content, message):
        picture(tmp_path / "rex/1.png")
        write(tmp_path / file, content)
        with pytest.raises(PersonaError, match=message):
            FOLDER.subjects(tmp_path)


@pytest.mark.parametrize("name", PROTOCOLS)
def test_missing_data_is_one_clear_line_that_says_where_to_get_it(name, tmp_path):
    for data, where in ((None, "give --data DIR"), (tmp_path / "nowhere", "is no folder")):
        with pytest.raises(PersonaError, match=rf"is not shipped: .*{where}; take the folder") as raised:
            PROTOCOLS[name].subjects(data)
        assert "\n" not in str(raised.value)


def test_a_name_is_a_protocol_or_a_folder(tmp_path):
    assert protocol("dreambench") is PROTOCOLS["dreambench"]
    assert protocol(str(tmp_path)) is FOLDER
    with pytest.raises(PersonaError, match=r"choose one of toybench, dreambench, dreambench\+\+, customconcept101"):
        protocol("dreambnech")
