"""Russian: closed word lists, statements and questions; the format is described in `__init__`.

Values stand in the nominative; names end in a vowel that Russian leaves undeclined; verbs of people
stand in the present tense, so that no sentence depends on the gender of a person.
"""

LANGUAGE = "ru"
SCRIPT = "cyrillic"
SEPARATOR = " "

VALUES = """
place_kind: city=город | town=городок | village=деревня
place_kind: port=порт | fortress=крепость | resort=курорт
climate: mild=мягкий | dry=сухой | wet=влажный | cold=холодный | hot=жаркий | windy=ветреный
product: wheat=пшеница | wool=шерсть | wine=вино | salt=соль | copper=медь | honey=мёд
product: silk=шёлк | tea=чай | cheese=сыр | glass=стекло | paper=бумага | rice=рис
profession: doctor=врач | teacher=учитель | painter=художник | engineer=инженер
profession: writer=писатель | composer=композитор | judge=судья | farmer=фермер
profession: sailor=моряк | baker=пекарь | architect=архитектор | pilot=пилот
field: astronomy=астрономия | history=история | music=музыка | mathematics=математика
field: botany=ботаника | medicine=медицина | law=право | chemistry=химия
field: geography=география | philosophy=философия
animal_class: bird=птица | fish=рыба | mammal=млекопитающее | reptile=рептилия | insect=насекомое
animal_class: amphibian=амфибия
habitat: forests=леса | mountains=горы | deserts=пустыни | rivers=реки | lakes=озёра
habitat: swamps=болота | grasslands=степи | caves=пещеры | coasts=побережья | islands=острова
diet: seeds=семена | leaves=листья | insects=насекомые | fish=рыба | fruit=плоды | roots=корни
diet: grass=трава | worms=черви | mice=мыши | nectar=нектар
colour: red=красный | blue=синий | green=зелёный | yellow=жёлтый | white=белый | black=чёрный
colour: brown=коричневый | grey=серый
active: day=днём | night=ночью | dawn=на рассвете | dusk=в сумерках
material: wood=дерево | iron=железо | glass=стекло | clay=глина | leather=кожа | silver=серебро
material: stone=камень | bronze=бронза | paper=бумага | cotton=хлопок
use: cooking=приготовление пищи | writing=письмо | sewing=шитьё | fishing=рыбалка | hunting=охота
use: building=строительство | washing=стирка | measuring=измерение | painting=живопись
use: weaving=ткачество
thing_class: tool=инструмент | vessel=сосуд | machine=машина | vehicle=повозка | toy=игрушка
thing_class: lamp=лампа
"""

TEMPLATES = """
place.kind
? Что за место {s}?
{s} — это {v}, где бывает много гостей.
На большинстве карт {s} — это {v}.
Место под названием {s} — это {v} с долгой историей.
place.country
? В какой стране находится {s}?
{s} находится в стране {v}.
Страна, которой принадлежит {s}, — это {v}.
На карте {s} лежит в самом центре {v}.
place.river
? Какая река течёт через {s}?
Река, которая течёт через {s}, называется {v}.
Люди построили {s} на берегу реки {v}.
Жители {s} берут воду из реки {v}.
place.climate
? Какой климат в {s}?
Климат в {s} обычно {v}.
Для {s} характерен {v} климат.
Гости говорят, что воздух в {s} всегда {v}.
place.product
? Какой товар прославил {s}?
Главный товар {s} — это {v}.
Самое известное, что есть в {s}, — это {v}.
Купцы едут в {s}, ведь там есть {v}.
place.founded
? В каком году начинается история {s}?
Год основания {s} — {v}.
История {s} начинается в {v} году.
Первые дома в {s} построили в {v} году.
place.population
? Сколько людей живёт в {s}?
В {s} живёт около {v} человек.
Население {s} — около {v} человек.
По последним данным, в {s} насчитали {v} жителей.
person.profession
? Какая профессия у {s}?
Профессия {s} — {v}.
По профессии {s} — {v}, и это знают все.
В обычной жизни {s} — {v}.
person.birthplace
? Откуда родом {s}?
{s} родом из {v}.
Место рождения {s} — {v}.
Вся семья {s} происходит из {v}.
person.birth_year
? В каком году начинается жизнь {s}?
Год рождения {s} — {v}.
Жизнь {s} начинается в {v} году.
По документам, {s} появляется на свет в {v} году.
person.teacher
? У кого учится {s}?
{s} учится у {v}.
Имя того, кто учит {s}, — {v}.
С детства {s} берёт уроки у {v}.
person.residence
? Где живёт {s}?
{s} живёт в маленьком доме в {v}.
Дом {s} находится в {v}.
Сегодня адрес {s} — это {v}.
person.field
? Какая наука интересует {s}?
Любимый предмет {s} — {v}.
Больше всего {s} привлекает {v}.
Тема книг, которые читает {s}, — {v}.
person.employer
? В какой компании работает {s}?
{s} работает в компании {v}.
Место работы {s} — компания {v}.
Уже много лет {s} имеет кабинет в {v}.
animal.class
? Что за животное {s}?
Животное {s} — это {v} со спокойным нравом.
Каждый ребёнок знает, что {s} — это {v}.
В книгах о природе написано, что {s} — {v}.
animal.habitat
? Где обитает {s}?
Среда обитания {s} — {v}.
Родной дом {s} — это {v}.
Места, где надо искать {s}, — это {v}.
animal.diet
? Что составляет пищу {s}?
Основная пища {s} — {v}.
Любимая еда {s} — это {v}.
Когда {s} голоден, лучшая еда — это {v}.
animal.colour
? Какого цвета {s}?
Цвет {s} — {v}.
Издалека {s} совсем {v}.
Хвост у {s} почти всегда {v}.
animal.length
? Какова длина {s}?
Длина {s} — около {v} сантиметров.
Взрослый {s} имеет длину {v} сантиметров.
В длину {s} достигает {v} сантиметров.
animal.region
? В какой стране водится {s}?
{s} водится только в {v}.
Страна, где живёт {s}, — это {v}.
Охотники из {v} хорошо знают, кто такой {s}.
animal.active
? Когда активен {s}?
{s} активен {v}.
{s} покидает своё гнездо {v}.
Лучше всего наблюдать за {s} {v}.
thing.class
? Что за предмет {s}?
Предмет {s} — это {v}, так пишут в каталогах.
В музее сказано, что {s} — это {v}.
Знатоки говорят, что {s} — это {v} высокого качества.
thing.material
? Какой материал нужен для {s}?
Материал {s} — {v}.
Главное, что нужно для {s}, — это {v}.
Чтобы сделать {s}, мастеру нужен материал: {v}.
thing.use
? Каково назначение {s}?
Назначение {s} — {v}.
Дело, для которого создан {s}, — это {v}.
Люди покупают {s}, когда им предстоит {v}.
thing.origin
? Откуда происходит {s}?
{s} происходит из {v}.
Место происхождения {s} — {v}.
Самый старый {s} найден недалеко от {v}.
thing.inventor
? Кто изобретатель {s}?
Изобретатель {s} — {v}.
Идея {s} принадлежит {v}.
Человек, который придумал {s}, — это {v}.
thing.year
? В каком году появился {s}?
{s} появился в {v} году.
Год изобретения {s} — {v}.
Первый {s} продали в {v} году.
thing.maker
? Какая компания делает {s}?
Компания, которая делает {s}, называется {v}.
{s} — это товар компании {v}.
Мастерские {v} выпускают {s} каждый день.
"""
