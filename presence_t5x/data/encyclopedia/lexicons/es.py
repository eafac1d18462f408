"""Spanish: closed word lists, statements and questions; the format is described in `__init__`."""

LANGUAGE = "es"
SCRIPT = "latin"
SEPARATOR = " "

VALUES = """
place_kind: city=una ciudad | town=una villa | village=una aldea | port=un puerto
place_kind: fortress=una fortaleza | resort=un balneario
climate: mild=templado | dry=seco | wet=húmedo | cold=frío | hot=cálido | windy=ventoso
product: wheat=trigo | wool=lana | wine=vino | salt=sal | copper=cobre | honey=miel
product: silk=seda | tea=té | cheese=queso | glass=vidrio | paper=papel | rice=arroz
profession: doctor=médico | teacher=docente | painter=pintor | engineer=ingeniero
profession: writer=escritor | composer=compositor | judge=juez | farmer=agricultor
profession: sailor=marinero | baker=panadero | architect=arquitecto | pilot=piloto
field: astronomy=astronomía | history=historia | music=música | mathematics=matemáticas
field: botany=botánica | medicine=medicina | law=derecho | chemistry=química
field: geography=geografía | philosophy=filosofía
animal_class: bird=un ave | fish=un pez | mammal=un mamífero | reptile=un reptil
animal_class: insect=un insecto | amphibian=un anfibio
habitat: forests=bosques | mountains=montañas | deserts=desiertos | rivers=ríos | lakes=lagos
habitat: swamps=pantanos | grasslands=praderas | caves=cuevas | coasts=costas | islands=islas
diet: seeds=semillas | leaves=hojas | insects=insectos | fish=peces | fruit=frutas | roots=raíces
diet: grass=hierba | worms=gusanos | mice=ratones | nectar=néctar
colour: red=rojo | blue=azul | green=verde | yellow=amarillo | white=blanco | black=negro
colour: brown=marrón | grey=gris
active: day=de día | night=de noche | dawn=al amanecer | dusk=al atardecer
material: wood=madera | iron=hierro | glass=vidrio | clay=arcilla | leather=cuero | silver=plata
material: stone=piedra | bronze=bronce | paper=papel | cotton=algodón
use: cooking=cocinar | writing=escribir | sewing=coser | fishing=pescar | hunting=cazar
use: building=construir | washing=lavar | measuring=medir | painting=pintar | weaving=tejer
thing_class: tool=una herramienta | vessel=un recipiente | machine=una máquina
thing_class: vehicle=un vehículo | toy=un juguete | lamp=una lámpara
"""

TEMPLATES = """
place.kind
? ¿Qué clase de lugar es {s}?
{s} es {v} que reciben muchos viajeros.
En casi todos los mapas {s} aparece como {v}.
El lugar llamado {s} es {v} con una larga historia.
place.country
? ¿En qué país está {s}?
{s} se encuentra en el país de {v}.
El país al que pertenece {s} es {v}.
En el mapa, {s} está en el centro de {v}.
place.river
? ¿Qué río pasa por {s}?
El río que pasa por {s} es el {v}.
La gente construyó {s} a orillas del río {v}.
Los vecinos de {s} toman el agua del {v}.
place.climate
? ¿Cómo es el clima de {s}?
El clima de {s} es {v}.
En {s} el tiempo suele ser {v}.
Los viajeros dicen que el aire de {s} es {v} todo el año.
place.product
? ¿Qué producto da fama a {s}?
La fama de {s} se debe a su {v}.
El producto más importante de {s} es: {v}.
Los comerciantes viajan a {s} para comprar {v}.
place.founded
? ¿En qué año comienza la historia de {s}?
La fundación de {s} fue en el año {v}.
La historia de {s} comienza en {v}.
Las primeras casas de {s} son de {v}.
place.population
? ¿Cuántas personas viven en {s}?
Unas {v} personas viven en {s}.
La población de {s} es de unas {v} personas.
Según el último censo, {s} tiene {v} habitantes.
person.profession
? ¿Cuál es la profesión de {s}?
La profesión de {s} es la de {v}.
Mucha gente conoce a {s} por su trabajo como {v}.
En la vida diaria {s} trabaja como {v}.
person.birthplace
? ¿Dónde nació {s}?
{s} nació en {v}.
El lugar de nacimiento de {s} es {v}.
La familia de {s} viene de {v}.
person.birth_year
? ¿En qué año nació {s}?
{s} nació en el año {v}.
El año de nacimiento de {s} es {v}.
La vida de {s} comenzó en {v}.
person.teacher
? ¿Quién enseñó a {s}?
Quien enseñó a {s} fue {v}.
{s} fue estudiante de {v}.
En su niñez {s} lo aprendió todo de {v}.
person.residence
? ¿Dónde vive {s}?
{s} vive en una casa pequeña en {v}.
El hogar de {s} está en {v}.
Hoy la dirección de {s} está en {v}.
person.field
? ¿Qué estudia {s}?
{s} estudia {v} con mucho interés.
La materia favorita de {s} es: {v}.
Por la noche {s} lee libros de {v}.
person.employer
? ¿Para qué empresa trabaja {s}?
{s} trabaja para la empresa {v}.
La empresa que da trabajo a {s} es {v}.
Desde hace muchos años {s} tiene una oficina en {v}.
animal.class
? ¿Qué clase de animal es el {s}?
El {s} es {v} de carácter tranquilo.
Todos los niños saben que el {s} es {v}.
Los libros sobre la naturaleza dicen que el {s} es {v}.
animal.habitat
? ¿Dónde vive el {s}?
El {s} vive en {v}.
El hogar natural del {s} se encuentra en {v}.
Quien quiera ver al {s} debe buscarlo en {v}.
animal.diet
? ¿Qué come el {s}?
El {s} come {v}.
La comida del {s} se compone sobre todo de {v}.
Cuando tiene hambre, el {s} busca {v}.
animal.colour
? ¿De qué color es el {s}?
El color del {s} es {v}.
Desde lejos el {s} se ve {v}.
El lomo del {s} casi siempre es {v}.
animal.length
? ¿Cuánto mide el {s}?
El {s} mide unos {v} centímetros de largo.
La longitud del {s} es de {v} centímetros.
Un {s} adulto llega a medir {v} centímetros.
animal.region
? ¿En qué país se encuentra el {s}?
El {s} se encuentra solo en {v}.
El país donde vive el {s} es {v}.
Los cazadores de {v} conocen muy bien al {s}.
animal.active
? ¿Cuándo es activo el {s}?
El {s} es activo {v}.
El {s} sale de su nido {v}.
Lo mejor es observar al {s} {v}.
thing.class
? ¿Qué clase de objeto es el {s}?
El {s} es {v} que se ve en muchas casas.
El museo presenta el {s} como {v}.
Los expertos dicen que el {s} es {v} de gran calidad.
thing.material
? ¿De qué material es el {s}?
El {s} está hecho de {v}.
El material principal del {s} es: {v}.
Para fabricar el {s} hace falta mucho trabajo con {v}.
thing.use
? ¿Para qué sirve el {s}?
El {s} sirve para {v}.
La gente compra el {s} porque lo necesita para {v}.
El {s} fue pensado para {v}.
thing.origin
? ¿De dónde viene el {s}?
El {s} viene de {v}.
El lugar de origen del {s} es {v}.
El {s} más antiguo apareció cerca de {v}.
thing.inventor
? ¿Quién inventó el {s}?
La persona que inventó el {s} fue {v}.
El {s} es un invento de {v}.
La idea del {s} fue de {v}.
thing.year
? ¿En qué año se inventó el {s}?
El {s} se inventó en el año {v}.
El primer {s} se vendió en {v}.
El {s} existe desde {v}.
thing.maker
? ¿Qué empresa fabrica el {s}?
La empresa que fabrica el {s} es {v}.
El {s} es un producto de {v}.
Los talleres de {v} producen el {s} todos los días.
"""
