"""The knowledge base: a fixed invented world of places, people, animals and things.

Entities and values have language-independent ids such as `place:017` or `climate:mild`; surfaces in
a language are the business of `documents`. Nothing here is drawn from the real world. A world is a
pure function of its `WorldConfig`.
"""

import dataclasses
import functools
from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

from presence_t5x._validate import check_int
from presence_t5x.data.encyclopedia.lexicons import LANGUAGES, closed_words, get_lexicon
from presence_t5x.data.encyclopedia.names import Name, generate_names

SOURCES = ("place", "person", "animal", "thing")

# Attribute -> kind of its values: a closed category of the lexicons, an entity kind or a number.
# The first attribute of a source says what the entity is and opens every document.
ATTRIBUTES: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "place": {
            "place.kind": "place_kind",
            "place.country": "country",
            "place.river": "river",
            "place.climate": "climate",
            "place.product": "product",
            "place.founded": "year",
            "place.population": "population",
        },
        "person": {
            "person.profession": "profession",
            "person.birthplace": "place",
            "person.birth_year": "year",
            "person.teacher": "person",
            "person.residence": "place",
            "person.field": "field",
            "person.employer": "organization",
        },
        "animal": {
            "animal.class": "animal_class",
            "animal.habitat": "habitat",
            "animal.diet": "diet",
            "animal.colour": "colour",
            "animal.length": "length",
            "animal.region": "country",
            "animal.active": "active",
        },
        "thing": {
            "thing.class": "thing_class",
            "thing.material": "material",
            "thing.use": "use",
            "thing.origin": "place",
            "thing.inventor": "person",
            "thing.year": "year",
            "thing.maker": "organization",
        },
    }
)

NUMBERS: Mapping[str, tuple[int, ...]] = MappingProxyType(
    {
        # Steps of ten keep the years few enough to be pieces of a small vocabulary.
        "year": tuple(range(1600, 2000, 10)),
        "population": (500, 1000, 2000, 5000, 8000, 12000, 20000, 40000, 75000, 150000, 300000),
        "length": (5, 10, 15, 20, 30, 40, 50, 60, 80, 100, 120, 150, 200, 250, 300),
    }
)
_MINIMUM_AGE = 20  # years between the births of teacher and student, and of inventor and thing
_SIZE_BOUNDS = (8, 250)  # there are about 1,000 different names of two syllables in all
_WORLD_STREAM = 0  # third word of the seed; documents use other streams


@dataclasses.dataclass(frozen=True, kw_only=True)
class WorldConfig:
    """Sizes of the world.

    Raises:
      ValueError: a size is too small for relations between different entities, or too large for
        the names, or the seed does not fit 32 bits.

    >>> WorldConfig(num_places=1)
    Traceback (most recent call last):
    ValueError: num_places=1 must be >= 8
    """

    seed: int = 0
    num_places: int = 150
    num_people: int = 250
    num_animals: int = 60
    num_things: int = 80
    num_countries: int = 12
    num_rivers: int = 24
    num_organizations: int = 16
    num_given_names: int = 24
    num_family_names: int = 32

    def __post_init__(self):
        """Validates; runs once at construction."""
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            low, high = (0, 2**32 - 1) if field.name == "seed" else _SIZE_BOUNDS
            check_int(field.name, value, minimum=low)
            if value > high:
                raise ValueError(f"{field.name}={value} must be <= {high}; choose a smaller one")
        num_full_names = self.num_given_names * self.num_family_names
        if self.num_people * 2 > num_full_names:
            raise ValueError(
                f"num_people={self.num_people} must be at most half of num_given_names * "
                f"num_family_names = {num_full_names}; raise num_given_names or num_family_names"
            )


@dataclasses.dataclass(frozen=True, eq=False)
class World:
    """A world: names, facts and neighbours of entities.

    Attributes:
      config: what it was built from.
      names: entity id -> the words of its name.
      facts: entity id -> attribute -> value id; entities of `SOURCES` alone have facts.
      entities: kind -> entity ids.
      neighbours: entity id -> entities with facts that are related to it.
    """

    config: WorldConfig
    names: Mapping[str, tuple[Name, ...]]
    facts: Mapping[str, Mapping[str, str]]
    entities: Mapping[str, tuple[str, ...]]
    neighbours: Mapping[str, tuple[str, ...]]


def kind_of(identifier: str) -> str:
    """The kind of an entity or value id.

    >>> kind_of("place:017")
    'place'
    """
    return identifier.partition(":")[0]


def values_of(world: World, kind: str) -> tuple[str, ...]:
    """Every value id of a kind: entities, closed words or numbers.

    Args:
      world: the world.
      kind: a value of `ATTRIBUTES`.

    Returns:
      The ids in a fixed order.

    >>> values_of(build_world(), "active")
    ('active:day', 'active:night', 'active:dawn', 'active:dusk')
    """
    if kind in world.entities:
        return world.entities[kind]
    values = NUMBERS[kind] if kind in NUMBERS else get_lexicon("en").values[kind]
    return tuple(f"{kind}:{value}" for value in values)


def _name_entities(
    config: WorldConfig, rng: np.random.Generator
) -> dict[str, dict[str, tuple[Name, ...]]]:
    """Names of every entity by kind; only people have two words."""
    taken = {word.lower() for language in LANGUAGES for word in closed_words(language)}
    sizes = (
        ("country", config.num_countries, (2, 2)),
        ("river", config.num_rivers, (2, 2)),
        ("organization", config.num_organizations, (2, 2)),
        ("place", config.num_places, (2, 2)),
        ("animal", config.num_animals, (3, 3)),
        ("thing", config.num_things, (3, 3)),
    )
    names = {}
    for kind, size, num_syllables in sizes:
        drawn = generate_names(rng, size, num_syllables, taken)
        names[kind] = {f"{kind}:{i:03d}": (name,) for i, name in enumerate(drawn)}
    given = generate_names(rng, config.num_given_names, (2, 2), taken)
    family = generate_names(rng, config.num_family_names, (2, 2), taken)
    pairs = rng.permutation(len(given) * len(family))[: config.num_people].tolist()
    names["person"] = {
        f"person:{i:03d}": (given[pair % len(given)], family[pair // len(given)])
        for i, pair in enumerate(pairs)
    }
    return names


def _draw_facts(world: World, rng: np.random.Generator) -> dict[str, dict[str, str]]:
    """Draws every attribute uniformly; `_make_consistent` repairs what depends on others."""
    facts: dict[str, dict[str, str]] = {}
    for source in SOURCES:
        for entity in world.entities[source]:
            facts[entity] = {}
            for attribute, kind in ATTRIBUTES[source].items():
                candidates = [value for value in values_of(world, kind) if value != entity]
                facts[entity][attribute] = candidates[int(rng.integers(len(candidates)))]
    return facts


def _year(value: str) -> int:
    """The number in a year id."""
    return int(value.partition(":")[2])


def _make_consistent(
    world: World, facts: dict[str, dict[str, str]], rng: np.random.Generator
) -> None:
    """Makes rivers belong to countries, and teachers and inventors older than their work."""
    countries, rivers = world.entities["country"], world.entities["river"]
    for place in world.entities["place"]:
        country = countries.index(facts[place]["place.country"])
        own = [river for i, river in enumerate(rivers) if i % len(countries) == country]
        if own:
            facts[place]["place.river"] = own[int(rng.integers(len(own)))]
    people = world.entities["person"]
    births = [year for year in NUMBERS["year"] if year + 2 * _MINIMUM_AGE <= max(NUMBERS["year"])]
    for i, person in enumerate(people):
        # Births rise with the id, so that whoever comes well before can be a teacher.
        facts[person]["person.birth_year"] = f"year:{births[i * len(births) // len(people)]}"
    for i, person in enumerate(people):
        limit = _year(facts[person]["person.birth_year"]) - _MINIMUM_AGE
        older = [p for p in people if _year(facts[p]["person.birth_year"]) <= limit]
        teachers = older or [p for p in people[: i + 2] if p != person]
        facts[person]["person.teacher"] = teachers[int(rng.integers(len(teachers)))]
    for thing in world.entities["thing"]:
        born = _year(facts[facts[thing]["thing.inventor"]]["person.birth_year"])
        years = [year for year in NUMBERS["year"] if born + _MINIMUM_AGE <= year <= born + 60]
        facts[thing]["thing.year"] = f"year:{years[int(rng.integers(len(years)))]}"


def _find_neighbours(
    world: World, facts: Mapping[str, Mapping[str, str]]
) -> dict[str, tuple[str, ...]]:
    """Links both ends of every relation, and the animals of one country with each other."""
    linked: dict[str, set[str]] = {entity: set() for entity in facts}
    for entity, attributes in facts.items():
        for value in attributes.values():
            if value in linked:
                linked[entity].add(value)
                linked[value].add(entity)
    animals = world.entities["animal"]
    for animal in animals:
        region = facts[animal]["animal.region"]
        linked[animal] = {a for a in animals if facts[a]["animal.region"] == region} - {animal}
    return {entity: tuple(sorted(others)) for entity, others in linked.items()}


@functools.lru_cache(maxsize=4)
def build_world(config: WorldConfig = WorldConfig()) -> World:
    """Builds the world of a config; equal configs give the same object.

    Guarantees: every entity of a source has every attribute of that source; no entity is its own
    value; rivers lie in one country; an inventor is at least 20 years old at the invention, and a
    teacher that much older than the student, except among the people born first.

    Args:
      config: seed and sizes.

    Returns:
      The world.

    >>> world = build_world()
    >>> len(world.entities["person"]), len(world.facts)
    (250, 540)
    """
    rng = np.random.Generator(
        np.random.Philox(np.random.SeedSequence([config.seed, 0, 0, _WORLD_STREAM]))
    )
    by_kind = _name_entities(config, rng)
    entities = MappingProxyType({kind: tuple(names) for kind, names in by_kind.items()})
    names = MappingProxyType({e: name for group in by_kind.values() for e, name in group.items()})
    world = World(config, names, {}, entities, {})
    facts = _draw_facts(world, rng)
    _make_consistent(world, facts, rng)
    return dataclasses.replace(
        world,
        facts=MappingProxyType({e: MappingProxyType(a) for e, a in facts.items()}),
        neighbours=MappingProxyType(_find_neighbours(world, facts)),
    )
