"""Clusters are named by words that are theirs, in any language."""

from steam_assets.pictures.words import cluster_names, stop_words, words_of

FARM = ["Grow turnips on your farm", "A cozy farm with turnips", "Farm life and turnips with friends"]
TRAINS = ["Build railways and trains", "Trains on time, railways", "The trains of a city"]
SPACE = ["Starships and planets", "Trade between planets", "A starship among planets"]


def test_a_cluster_is_named_by_what_is_frequent_in_it_and_rare_elsewhere() -> None:
    """Words of no meaning, and words of every cluster, name none."""
    texts = [f"{text}, an adventure" for text in (*FARM, *TRAINS, *SPACE)]
    names = cluster_names(texts, [0, 0, 0, 1, 1, 1, 2, 2, 2], 3)
    assert "turnips" in names[0]
    assert "trains" in names[1].casefold()
    assert "planets" in names[2]
    assert not any("adventure" in name or "and" in name.split(" · ") for name in names)


def test_a_word_of_every_cluster_names_none() -> None:
    """Not even where there are few words to choose from."""
    texts = ["turnips adventure", "turnips adventure", "trains adventure", "trains adventure"]
    assert cluster_names(texts, [0, 0, 1, 1], 2) == ["turnips", "trains"]


def test_one_text_that_repeats_itself_names_nothing() -> None:
    """A wall of one word is one text with it."""
    texts = [*FARM, "spam " * 500 + "farm turnips", *TRAINS, *SPACE]
    assert "spam" not in cluster_names(texts, [0, 0, 0, 0, 1, 1, 1, 2, 2, 2], 3)[0].split(" · ")[:2]


def test_a_word_beside_its_plural_says_nothing_new() -> None:
    """The place is another word's."""
    texts = ["cat cats mouse", "cats cat mouse", "dog hound", "dog hound", "bird wing", "bird wing", "fish", "fish"]
    name = cluster_names(texts, [0, 0, 1, 1, 2, 2, 3, 3], 4)[0]
    assert name == "cat · mouse"


def test_names_are_spelled_as_they_mostly_are() -> None:
    """RPG is one word with rpg, and written in capitals."""
    texts = ["RPG", "RPG", "rpg", "chess", "chess", "chess", "golf", "golf", "golf", "polo", "polo", "polo"]
    assert cluster_names(texts, [row // 3 for row in range(12)], 4)[0] == "RPG"


def test_scripts_without_spaces_are_cut_into_pairs_of_letters() -> None:
    """A sentence of Chinese is not one word; other scripts keep their words."""
    assert list(words_of("RPG农场模拟 и ферма, 3D 한국어 게임을")) == [
        "RPG",
        "农场",
        "场模",
        "模拟",
        "ферма",
        "한국어",
        "게임을",
    ]


def test_words_of_no_meaning_are_left_out_in_many_languages() -> None:
    """A cluster of Russian pages is not called "and, in, the"."""
    assert {"the", "und", "для", "pour", "para", "które"} - stop_words() == {"które"}
    assert "war" not in stop_words()
    texts = ["это игра для ферма", "это для ферма", "the train", "a train", "the ship", "a ship", "the cat", "a cat"]
    assert cluster_names(texts, [0, 0, 1, 1, 2, 2, 3, 3], 4)[0] == "ферма"


def test_a_cluster_without_words_has_a_number() -> None:
    """Numbers and signs are texts too."""
    assert cluster_names(["12 34", "...", "farm", "7"], [0, 0, 1, 1], 3) == ["cluster 1", "farm", "cluster 3"]


def test_markup_in_a_text_is_no_word() -> None:
    """What is not a letter separates words, so a name is harmless wherever it is shown."""
    assert list(words_of("</script><b onclick='x()'>$farm$")) == ["script", "onclick", "farm"]
