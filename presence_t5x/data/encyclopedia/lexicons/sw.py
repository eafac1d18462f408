"""Swahili: closed word lists, statements and questions; the format is described in `__init__`."""

LANGUAGE = "sw"
SCRIPT = "latin"
SEPARATOR = " "

VALUES = """
place_kind: city=jiji | town=mji | village=kijiji
place_kind: port=bandari | fortress=ngome | resort=kituo cha mapumziko
climate: mild=ya wastani | dry=ya ukavu | wet=ya unyevu
climate: cold=ya baridi | hot=ya joto | windy=ya upepo
product: wheat=ngano | wool=sufu | wine=divai | salt=chumvi | copper=shaba | honey=asali
product: silk=hariri | tea=chai | cheese=jibini | glass=kioo | paper=karatasi | rice=mchele
profession: doctor=daktari | teacher=mwalimu | painter=mchoraji | engineer=mhandisi
profession: writer=mwandishi | composer=mtunzi | judge=hakimu | farmer=mkulima
profession: sailor=baharia | baker=mwokaji | architect=msanifu | pilot=rubani
field: astronomy=falaki | history=historia | music=muziki | mathematics=hisabati | botany=botania
field: medicine=tiba | law=sheria | chemistry=kemia | geography=jiografia | philosophy=falsafa
animal_class: bird=ndege | fish=samaki | mammal=mamalia | reptile=reptilia | insect=mdudu
animal_class: amphibian=amfibia
habitat: forests=misitu | mountains=milima | deserts=majangwa | rivers=mito | lakes=maziwa
habitat: swamps=mabwawa | grasslands=mbuga | caves=mapango | coasts=pwani | islands=visiwa
diet: seeds=mbegu | leaves=majani | insects=wadudu | fish=samaki | fruit=matunda | roots=mizizi
diet: grass=nyasi | worms=minyoo | mice=panya | nectar=nekta
colour: red=nyekundu | blue=bluu | green=kijani | yellow=njano | white=nyeupe | black=nyeusi
colour: brown=kahawia | grey=kijivu
active: day=mchana | night=usiku | dawn=alfajiri | dusk=jioni
material: wood=mbao | iron=chuma | glass=kioo | clay=udongo | leather=ngozi | silver=fedha
material: stone=mawe | bronze=shaba nyeusi | paper=karatasi | cotton=pamba
use: cooking=kupika | writing=kuandika | sewing=kushona | fishing=kuvua samaki | hunting=kuwinda
use: building=kujenga | washing=kufua | measuring=kupima | painting=kuchora | weaving=kufuma
thing_class: tool=zana | vessel=chombo | machine=mashine | vehicle=gari | toy=mwanasesere | lamp=taa
"""

TEMPLATES = """
place.kind
? {s} ni mahali pa aina gani?
{s} ni {v} ambapo wasafiri wengi hufika.
Kwenye ramani nyingi {s} huonyeshwa kama {v}.
Mahali panapoitwa {s} ni {v} tangu zamani.
place.country
? {s} iko katika nchi gani?
{s} iko katika nchi ya {v}.
Nchi ambayo {s} imo ni {v}.
Kwenye ramani, {s} iko katikati ya {v}.
place.river
? Mto gani unapita {s}?
Mto unaopita {s} unaitwa {v}.
{s} ilijengwa kwenye ukingo wa mto {v}.
Watu wa {s} huchota maji katika mto {v}.
place.climate
? Hali ya hewa ya {s} ni ya namna gani?
Hali ya hewa ya {s} ni {v}.
Huko {s} hali ya hewa huwa {v}.
Wageni husema kuwa hewa ya {s} ni {v} mwaka mzima.
place.product
? {s} inajulikana kwa nini?
{s} inajulikana kwa {v}.
Bidhaa muhimu zaidi ya {s} ni {v}.
Wafanyabiashara huja {s} ili kununua {v}.
place.founded
? {s} ilianzishwa lini?
{s} ilianzishwa mwaka wa {v}.
Historia ya {s} inaanza mwaka {v}.
Nyumba za kwanza za {s} zilijengwa mwaka {v}.
place.population
? Watu wangapi wanaishi {s}?
Karibu watu {v} wanaishi {s}.
Idadi ya watu wa {s} ni karibu {v}.
Kwa hesabu ya mwisho, {s} ina wakazi {v}.
person.profession
? {s} anafanya kazi gani?
{s} ni {v} kwa kazi yake.
Watu wengi wanamjua {s} kuwa ni {v} hodari.
Katika maisha ya kila siku {s} ni {v}.
person.birthplace
? {s} alizaliwa wapi?
{s} alizaliwa huko {v}.
Mahali alipozaliwa {s} ni {v}.
Familia ya {s} inatoka {v}.
person.birth_year
? {s} alizaliwa mwaka gani?
{s} alizaliwa mwaka wa {v}.
Mwaka wa kuzaliwa kwa {s} ni {v}.
Maisha ya {s} yalianza mwaka {v}.
person.teacher
? Nani alimfundisha {s}?
Aliyemfundisha {s} ni {v}.
{s} alikuwa mwanafunzi wa {v}.
Utotoni {s} alijifunza mambo yote kutoka kwa {v}.
person.residence
? {s} anaishi wapi?
{s} anaishi katika nyumba ndogo huko {v}.
Makazi ya {s} yako {v}.
Leo anwani ya {s} iko {v}.
person.field
? {s} anasoma somo gani?
{s} anasoma {v} kwa hamu kubwa.
Somo analolipenda {s} ni {v}.
Jioni {s} husoma vitabu vya {v}.
person.employer
? {s} anafanya kazi katika kampuni gani?
{s} anafanya kazi katika kampuni ya {v}.
Mwajiri wa {s} ni kampuni ya {v}.
Kwa miaka mingi {s} ana ofisi katika {v}.
animal.class
? {s} ni mnyama wa aina gani?
{s} ni {v} mwenye tabia ya utulivu.
Kila mtoto anajua kuwa {s} ni {v}.
Vitabu vya maumbile vinasema kuwa {s} ni {v}.
animal.habitat
? {s} anaishi wapi?
{s} anaishi kwenye {v}.
Makazi ya asili ya {s} ni {v}.
Anayemtafuta {s} aende kwenye {v}.
animal.diet
? {s} anakula nini?
{s} anakula {v}.
Chakula cha {s} hasa ni {v}.
Akiwa na njaa, {s} hutafuta {v}.
animal.colour
? {s} ana rangi gani?
Rangi ya {s} ni {v}.
Kwa mbali {s} anaonekana mwenye rangi {v}.
Mgongo wa {s} karibu kila mara una rangi {v}.
animal.length
? {s} ana urefu gani?
{s} ana urefu wa sentimita {v} hivi.
Urefu wa {s} ni sentimita {v}.
Mnyama {s} akikomaa hufikia sentimita {v}.
animal.region
? {s} anapatikana katika nchi gani?
{s} anapatikana {v} peke yake.
Nchi anakoishi {s} ni {v}.
Wawindaji wa {v} wanamjua {s} vizuri sana.
animal.active
? {s} hutembea wakati gani?
{s} hutembea wakati wa {v}.
{s} hutoka kwenye kiota chake {v}.
Ni vizuri kumtazama {s} wakati wa {v}.
thing.class
? {s} ni kitu cha aina gani?
{s} ni {v} na hupatikana katika nyumba nyingi.
Katika makumbusho {s} inaelezwa kuwa ni {v}.
Wataalamu husema kuwa {s} ni {v} bora kabisa.
thing.material
? {s} imetengenezwa kwa nini?
{s} imetengenezwa kwa {v}.
Malighafi kuu ya {s} ni {v}.
Ili kuunda {s}, mafundi wanahitaji {v} kwa wingi.
thing.use
? {s} hutumika kwa kazi gani?
{s} hutumika kwa {v}.
Watu hununua {s} kwa sababu wanataka {v}.
{s} ilibuniwa kwa ajili ya {v}.
thing.origin
? {s} inatoka wapi?
{s} inatoka {v}.
Asili ya {s} ni {v}.
{s} ya zamani zaidi ilipatikana karibu na {v}.
thing.inventor
? Nani alivumbua {s}?
Aliyevumbua {s} ni {v}.
{s} ilivumbuliwa na {v}.
Wazo la {s} lilitoka kwa {v}.
thing.year
? {s} ilivumbuliwa mwaka gani?
{s} ilivumbuliwa mwaka wa {v}.
{s} ya kwanza iliuzwa mwaka {v}.
Tangu mwaka {v} kuna {s} sokoni.
thing.maker
? Kampuni gani inatengeneza {s}?
{s} inatengenezwa na kampuni ya {v}.
Kampuni inayotengeneza {s} ni {v}.
Viwanda vya {v} huunda {s} kila siku.
"""
