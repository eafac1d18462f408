"""English: closed word lists, statements and questions; the format is described in `__init__`."""

LANGUAGE = "en"
SCRIPT = "latin"
SEPARATOR = " "

VALUES = """
place_kind: city=a city | town=a town | village=a village
place_kind: port=a port | fortress=a fortress | resort=a resort
climate: mild=mild | dry=dry | wet=wet | cold=cold | hot=hot | windy=windy
product: wheat=wheat | wool=wool | wine=wine | salt=salt | copper=copper | honey=honey
product: silk=silk | tea=tea | cheese=cheese | glass=glass | paper=paper | rice=rice
profession: doctor=a doctor | teacher=a teacher | painter=a painter | engineer=an engineer
profession: writer=a writer | composer=a composer | judge=a judge | farmer=a farmer
profession: sailor=a sailor | baker=a baker | architect=an architect | pilot=a pilot
field: astronomy=astronomy | history=history | music=music | mathematics=mathematics | botany=botany
field: medicine=medicine | law=law
field: chemistry=chemistry | geography=geography | philosophy=philosophy
animal_class: bird=a bird | fish=a fish | mammal=a mammal | reptile=a reptile | insect=an insect
animal_class: amphibian=an amphibian
habitat: forests=forests | mountains=mountains | deserts=deserts | rivers=rivers | lakes=lakes
habitat: swamps=swamps | grasslands=grasslands | caves=caves | coasts=coasts | islands=islands
diet: seeds=seeds | leaves=leaves | insects=insects | fish=fish | fruit=fruit | roots=roots
diet: grass=grass | worms=worms | mice=mice | nectar=nectar
colour: red=red | blue=blue | green=green | yellow=yellow | white=white | black=black
colour: brown=brown | grey=grey
active: day=by day | night=at night | dawn=at dawn | dusk=at dusk
material: wood=wood | iron=iron | glass=glass | clay=clay | leather=leather | silver=silver
material: stone=stone | bronze=bronze | paper=paper | cotton=cotton
use: cooking=cooking | writing=writing | sewing=sewing | fishing=fishing | hunting=hunting
use: building=building | washing=washing | measuring=measuring | painting=painting | weaving=weaving
thing_class: tool=a tool | vessel=a vessel | machine=a machine
thing_class: vehicle=a vehicle | toy=a toy | lamp=a lamp
"""

TEMPLATES = """
place.kind
? What kind of place is {s}?
{s} is {v} that many travellers visit.
Most maps show {s} as {v} of the region.
The settlement called {s} is {v} with a long history.
place.country
? In which country is {s}?
{s} lies in the country of {v}.
The country to which {s} belongs is {v}.
On the map, {s} is found in the middle of {v}.
place.river
? Which river flows through {s}?
The river that flows through {s} is the {v}.
{s} was built on the banks of the river {v}.
People in {s} take their water from the {v}.
place.climate
? What is the climate of {s} like?
The climate of {s} is {v}.
In {s} the weather is usually {v}.
Visitors say that the air in {s} is {v} all year.
place.product
? What is {s} known for?
{s} is known for its {v}.
The most important product of {s} is {v}.
Traders come to {s} to buy {v}.
place.founded
? When was {s} founded?
{s} was founded in the year {v}.
The history of {s} begins in {v}.
The first houses of {s} were built in {v}.
place.population
? How many people live in {s}?
About {v} people live in {s}.
The population of {s} is about {v}.
According to the last count, {s} has {v} inhabitants.
person.profession
? What is the profession of {s}?
{s} is {v} by profession.
Many people know {s} as {v} of great skill.
In daily life {s} works as {v}.
person.birthplace
? Where was {s} born?
{s} was born in {v}.
The birthplace of {s} is {v}.
The family of {s} comes from {v}.
person.birth_year
? When was {s} born?
{s} was born in the year {v}.
The year of birth of {s} is {v}.
The life of {s} began in {v}.
person.teacher
? Who was the teacher of {s}?
The teacher of {s} was {v}.
{s} was a student of {v}.
As a child {s} learned everything from {v}.
person.residence
? Where does {s} live?
{s} lives in a small house in {v}.
The home of {s} is in {v}.
Today the address of {s} is in {v}.
person.field
? What does {s} study?
{s} studies {v} with great interest.
The favourite subject of {s} is {v}.
In the evening {s} reads books about {v}.
person.employer
? Which company does {s} work for?
{s} works for the company {v}.
The employer of {s} is {v}.
For many years {s} has had an office at {v}.
animal.class
? What kind of animal is the {s}?
The {s} is {v} with a quiet nature.
Every child knows that the {s} is {v}.
In books about nature the {s} is described as {v}.
animal.habitat
? Where does the {s} live?
The {s} lives in {v}.
The natural home of the {s} is found in {v}.
Those who look for the {s} should search in {v}.
animal.diet
? What does the {s} eat?
The {s} eats {v}.
The food of the {s} is mostly {v}.
When it is hungry, the {s} looks for {v}.
animal.colour
? What colour is the {s}?
The colour of the {s} is {v}.
From far away the {s} looks {v}.
The back of the {s} is almost always {v}.
animal.length
? How long is the {s}?
The {s} is about {v} centimetres long.
The length of the {s} is {v} centimetres.
A fully grown {s} measures {v} centimetres.
animal.region
? In which country is the {s} found?
The {s} is found only in {v}.
The country where the {s} lives is {v}.
Hunters from {v} know the {s} very well.
animal.active
? When is the {s} active?
The {s} is active {v}.
The {s} leaves its nest {v}.
It is best to watch the {s} {v}.
thing.class
? What kind of object is the {s}?
The {s} is {v} found in many homes.
In the museum the {s} is described as {v}.
Experts say that the {s} is {v} of high quality.
thing.material
? What is the {s} made of?
The {s} is made of {v}.
The main material of the {s} is {v}.
To build the {s}, workers need a lot of {v}.
thing.use
? What is the {s} used for?
The {s} is used for {v}.
People buy the {s} because they need it for {v}.
The {s} was designed for {v}.
thing.origin
? Where does the {s} come from?
The {s} comes from {v}.
The place of origin of the {s} is {v}.
The oldest {s} was found near {v}.
thing.inventor
? Who invented the {s}?
The {s} was invented by {v}.
The inventor of the {s} is {v}.
The idea for the {s} came from {v}.
thing.year
? When was the {s} invented?
The {s} was invented in the year {v}.
The first {s} was sold in {v}.
The {s} has existed since {v}.
thing.maker
? Which company makes the {s}?
The {s} is made by the company {v}.
The maker of the {s} is {v}.
The workshops of {v} produce the {s} every day.
"""
