"""German: closed word lists, statements and questions; the format is described in `__init__`."""

LANGUAGE = "de"
SCRIPT = "latin"
SEPARATOR = " "

VALUES = """
place_kind: city=eine Stadt | town=eine Kleinstadt | village=ein Dorf | port=ein Hafen
place_kind: fortress=eine Festung | resort=ein Kurort
climate: mild=mild | dry=trocken | wet=feucht | cold=kalt | hot=heiß | windy=windig
product: wheat=Weizen | wool=Wolle | wine=Wein | salt=Salz | copper=Kupfer | honey=Honig
product: silk=Seide | tea=Tee | cheese=Käse | glass=Glas | paper=Papier | rice=Reis
profession: doctor=Arzt | teacher=Lehrer | painter=Maler | engineer=Ingenieur
profession: writer=Schriftsteller | composer=Komponist | judge=Richter | farmer=Bauer
profession: sailor=Seemann | baker=Bäcker | architect=Architekt | pilot=Pilot
field: astronomy=Astronomie | history=Geschichte | music=Musik | mathematics=Mathematik
field: botany=Botanik | medicine=Medizin | law=Recht | chemistry=Chemie
field: geography=Geographie | philosophy=Philosophie
animal_class: bird=ein Vogel | fish=ein Fisch | mammal=ein Säugetier | reptile=ein Reptil
animal_class: insect=ein Insekt | amphibian=ein Lurch
habitat: forests=Wälder | mountains=Berge | deserts=Wüsten | rivers=Flüsse | lakes=Seen
habitat: swamps=Sümpfe | grasslands=Steppen | caves=Höhlen | coasts=Küsten | islands=Inseln
diet: seeds=Samen | leaves=Blätter | insects=Insekten | fish=Fische | fruit=Früchte
diet: roots=Wurzeln | grass=Gras | worms=Würmer | mice=Mäuse | nectar=Nektar
colour: red=rot | blue=blau | green=grün | yellow=gelb | white=weiß | black=schwarz
colour: brown=braun | grey=grau
active: day=tagsüber | night=nachts | dawn=im Morgengrauen | dusk=in der Dämmerung
material: wood=Holz | iron=Eisen | glass=Glas | clay=Ton | leather=Leder | silver=Silber
material: stone=Stein | bronze=Bronze | paper=Papier | cotton=Baumwolle
use: cooking=Kochen | writing=Schreiben | sewing=Nähen | fishing=Fischen | hunting=Jagen
use: building=Bauen | washing=Waschen | measuring=Messen | painting=Malen | weaving=Weben
thing_class: tool=ein Werkzeug | vessel=ein Gefäß | machine=eine Maschine
thing_class: vehicle=ein Fahrzeug | toy=ein Spielzeug | lamp=eine Lampe
"""

TEMPLATES = """
place.kind
? Was für ein Ort ist {s}?
{s} ist {v} und wird von vielen Reisenden besucht.
Auf den meisten Karten ist {s} nur {v} unter vielen.
Der Ort namens {s} ist {v} mit langer Geschichte.
place.country
? In welchem Land liegt {s}?
{s} liegt in dem Land {v}.
Das Land, zu dem {s} gehört, ist {v}.
Auf der Karte findet man {s} mitten in {v}.
place.river
? Welcher Fluss fließt durch {s}?
Der Fluss, der durch {s} fließt, heißt {v}.
{s} wurde am Ufer des Flusses {v} gebaut.
Das Wasser für {s} kommt aus dem Fluss {v}.
place.climate
? Wie ist das Klima in {s}?
Das Klima in {s} ist {v}.
In {s} ist das Wetter meistens {v}.
Besucher sagen, dass die Luft in {s} immer {v} ist.
place.product
? Wofür ist {s} bekannt?
{s} ist bekannt für {v}.
Das wichtigste Erzeugnis von {s} ist {v}.
Händler kommen nach {s} und kaufen dort {v}.
place.founded
? Wann wurde {s} gegründet?
{s} wurde im Jahr {v} gegründet.
Die Geschichte von {s} beginnt im Jahr {v}.
Die ersten Häuser von {s} baute man {v}.
place.population
? Wie viele Menschen leben in {s}?
Etwa {v} Menschen leben in {s}.
Die Bevölkerung von {s} beträgt etwa {v}.
Nach der letzten Zählung hat {s} {v} Einwohner.
person.profession
? Welchen Beruf hat {s}?
{s} ist von Beruf {v}.
Viele Leute kennen {s} durch die Arbeit als {v}.
Im täglichen Leben arbeitet {s} als {v}.
person.birthplace
? Wo wurde {s} geboren?
{s} wurde in {v} geboren.
Der Geburtsort von {s} ist {v}.
Die Familie von {s} kommt aus {v}.
person.birth_year
? Wann wurde {s} geboren?
{s} wurde im Jahr {v} geboren.
Das Geburtsjahr von {s} ist {v}.
Das Leben von {s} begann im Jahr {v}.
person.teacher
? Bei wem hat {s} gelernt?
Den Unterricht für {s} gab {v}.
{s} ging bei {v} in die Schule.
Als Kind hat {s} alles von {v} gelernt.
person.residence
? Wo wohnt {s}?
{s} wohnt in einem kleinen Haus in {v}.
Das Zuhause von {s} ist in {v}.
Heute liegt die Wohnung von {s} in {v}.
person.field
? Was studiert {s}?
{s} studiert {v} mit großem Interesse.
Das liebste Fach von {s} ist {v}.
Am Abend liest {s} Bücher über {v}.
person.employer
? Für welche Firma arbeitet {s}?
{s} arbeitet für die Firma {v}.
Der Arbeitgeber von {s} ist {v}.
Seit vielen Jahren hat {s} ein Büro bei {v}.
animal.class
? Was für ein Tier ist der {s}?
Der {s} ist {v} mit ruhigem Wesen.
Jedes Kind weiß, dass der {s} {v} ist.
In Büchern über die Natur heißt es, der {s} sei {v}.
animal.habitat
? Wo lebt der {s}?
Zum Lebensraum des {s} gehören {v}.
Die Heimat des {s} sind {v}.
Wer den {s} sucht, findet ihn über {v} verteilt.
animal.diet
? Was frisst der {s}?
Der {s} frisst {v}.
Am liebsten mag der {s} immer {v}.
Wenn er hungrig ist, sucht der {s} {v}.
animal.colour
? Welche Farbe hat der {s}?
Die Farbe des {s} ist {v}.
Von weitem sieht der {s} {v} aus.
Der Rücken des {s} ist fast immer {v}.
animal.length
? Wie lang ist der {s}?
Der {s} ist etwa {v} Zentimeter lang.
Die Länge des {s} beträgt {v} Zentimeter.
Ein erwachsener {s} misst {v} Zentimeter.
animal.region
? In welchem Land kommt der {s} vor?
Der {s} kommt nur in {v} vor.
Das Land, in dem der {s} lebt, ist {v}.
Die Jäger aus {v} kennen den {s} sehr gut.
animal.active
? Wann ist der {s} aktiv?
Der {s} ist {v} aktiv.
Der {s} verlässt sein Nest {v}.
Am besten beobachtet man den {s} {v}.
thing.class
? Was für ein Gegenstand ist der {s}?
Der {s} ist {v} und steht in vielen Häusern.
Im Museum liest man, der {s} sei {v}.
Fachleute sagen, dass der {s} {v} von hoher Qualität ist.
thing.material
? Woraus besteht der {s}?
Der {s} besteht aus {v}.
Das wichtigste Material des {s} ist {v}.
Um den {s} zu bauen, braucht man viel {v}.
thing.use
? Wozu dient der {s}?
Der {s} dient zum {v}.
Die Leute kaufen den {s}, denn sie brauchen ihn zum {v}.
Der {s} wurde zum {v} entworfen.
thing.origin
? Woher kommt der {s}?
Der {s} kommt aus {v}.
Der Ursprungsort des {s} ist {v}.
Der älteste {s} wurde nahe bei {v} gefunden.
thing.inventor
? Wer hat den {s} erfunden?
Der {s} wurde von {v} erfunden.
Die Erfindung des {s} verdankt man {v}.
Die Idee für den {s} kam von {v}.
thing.year
? Wann wurde der {s} erfunden?
Der {s} wurde im Jahr {v} erfunden.
Der erste {s} wurde im Jahr {v} verkauft.
Den {s} gibt es seit {v}.
thing.maker
? Welche Firma stellt den {s} her?
Der {s} wird von der Firma {v} hergestellt.
Der Hersteller des {s} ist {v}.
Die Werkstätten von {v} bauen den {s} jeden Tag.
"""
