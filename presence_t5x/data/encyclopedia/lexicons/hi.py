"""Hindi: closed word lists, statements and questions; the format is described in `__init__`.

The values of `use` are written so that they can stand before a postposition.
"""

LANGUAGE = "hi"
SCRIPT = "devanagari"
SEPARATOR = " "

VALUES = """
place_kind: city=नगर | town=कस्बा | village=गाँव | port=बंदरगाह | fortress=किला | resort=सैरगाह
climate: mild=सुहाना | dry=सूखा | wet=नम | cold=ठंडा | hot=गर्म | windy=तूफ़ानी
product: wheat=गेहूँ | wool=ऊन | wine=शराब | salt=नमक | copper=ताँबा | honey=शहद
product: silk=रेशम | tea=चाय | cheese=पनीर | glass=काँच | paper=काग़ज़ | rice=चावल
profession: doctor=चिकित्सक | teacher=अध्यापक | painter=चित्रकार | engineer=अभियंता
profession: writer=लेखक | composer=संगीतकार | judge=न्यायाधीश | farmer=किसान
profession: sailor=नाविक | baker=नानबाई | architect=वास्तुकार | pilot=विमानचालक
field: astronomy=खगोलशास्त्र | history=इतिहास | music=संगीत | mathematics=गणित
field: botany=वनस्पतिशास्त्र | medicine=चिकित्सा | law=क़ानून | chemistry=रसायन
field: geography=भूगोल | philosophy=दर्शन
animal_class: bird=पक्षी | fish=मछली | mammal=स्तनधारी
animal_class: reptile=सरीसृप | insect=कीट | amphibian=उभयचर
habitat: forests=जंगल | mountains=पहाड़ | deserts=रेगिस्तान | rivers=नदी | lakes=झील
habitat: swamps=दलदल | grasslands=मैदान | caves=गुफा | coasts=समुद्रतट | islands=द्वीप
diet: seeds=बीज | leaves=पत्ते | insects=कीड़े | fish=मछली | fruit=फल | roots=जड़ें
diet: grass=घास | worms=केंचुए | mice=चूहे | nectar=मकरंद
colour: red=लाल | blue=नीला | green=हरा | yellow=पीला | white=सफ़ेद | black=काला
colour: brown=भूरा | grey=धूसर
active: day=दिन में | night=रात में | dawn=भोर में | dusk=शाम को
material: wood=लकड़ी | iron=लोहा | glass=काँच | clay=मिट्टी | leather=चमड़ा | silver=चाँदी
material: stone=पत्थर | bronze=काँसा | paper=काग़ज़ | cotton=कपास
use: cooking=खाना पकाने | writing=लिखने | sewing=सिलाई | fishing=मछली पकड़ने | hunting=शिकार
use: building=निर्माण | washing=धुलाई | measuring=मापने | painting=चित्रकारी | weaving=बुनाई
thing_class: tool=औज़ार | vessel=बर्तन | machine=मशीन | vehicle=वाहन | toy=खिलौना | lamp=दीपक
"""

TEMPLATES = """
place.kind
? {s} किस प्रकार का स्थान है?
{s} एक {v} है जहाँ बहुत यात्री आते हैं।
अधिकतर नक्शों में {s} को {v} बताया गया है।
{s} नाम का स्थान एक पुराना {v} है।
place.country
? {s} किस देश में है?
{s} नाम का स्थान {v} देश में है।
जिस देश में {s} है उसका नाम {v} है।
नक्शे पर {s} को {v} के बीच में देखा जा सकता है।
place.river
? {s} से कौन सी नदी बहती है?
{s} से बहने वाली नदी का नाम {v} है।
{s} को {v} नदी के किनारे बसाया गया था।
{s} के लोग अपना पानी {v} नदी से लेते हैं।
place.climate
? {s} का मौसम कैसा है?
{s} का मौसम {v} है।
यात्रियों को {s} का मौसम हमेशा {v} लगता है।
पूरे साल {s} में मौसम {v} रहता है।
place.product
? {s} किस चीज़ के लिए प्रसिद्ध है?
{s} की सबसे प्रसिद्ध चीज़ {v} है।
व्यापारी {s} में आकर {v} ख़रीदते हैं।
{s} का मुख्य उत्पाद {v} है।
place.founded
? {s} की स्थापना कब हुई?
{s} की स्थापना सन {v} में हुई।
{s} का इतिहास सन {v} से शुरू होता है।
{s} के पहले घर सन {v} में बने थे।
place.population
? {s} में कितने लोग रहते हैं?
{s} में लगभग {v} लोग रहते हैं।
{s} की जनसंख्या लगभग {v} है।
पिछली गिनती के अनुसार {s} में {v} निवासी हैं।
person.profession
? {s} का पेशा क्या है?
{s} का पेशा {v} का है।
बहुत लोग {s} को एक {v} के रूप में जानते हैं।
रोज़ के जीवन में {s} का काम {v} का है।
person.birthplace
? {s} का जन्म कहाँ हुआ?
{s} का जन्म {v} में हुआ।
{s} का जन्मस्थान {v} है।
{s} का परिवार {v} से आया है।
person.birth_year
? {s} का जन्म कब हुआ?
{s} का जन्म सन {v} में हुआ।
{s} के जन्म का वर्ष {v} है।
{s} का जीवन सन {v} में शुरू हुआ।
person.teacher
? {s} को किसने पढ़ाया?
{s} को {v} ने पढ़ाया।
{s} के गुरु का नाम {v} है।
बचपन में {s} ने सब कुछ {v} से सीखा।
person.residence
? {s} का घर कहाँ है?
{s} का छोटा घर {v} में है।
आजकल {s} का पता {v} में है।
{s} का निवास {v} में है।
person.field
? {s} का प्रिय विषय क्या है?
{s} का प्रिय विषय {v} है।
{s} को {v} पढ़ना बहुत पसंद है।
शाम को {s} के हाथ में {v} की किताब होती है।
person.employer
? {s} का काम किस कंपनी में है?
{s} का काम {v} कंपनी में है।
{s} को वेतन {v} से मिलता है।
कई साल से {s} का दफ़्तर {v} में है।
animal.class
? {s} किस प्रकार का जीव है?
{s} एक शांत {v} है।
हर बच्चा जानता है कि {s} एक {v} है।
प्रकृति की किताबों में {s} को {v} कहा गया है।
animal.habitat
? {s} कहाँ रहता है?
{s} का निवास {v} में है।
{s} का प्राकृतिक घर {v} है।
{s} को देखने के लिए {v} में जाना चाहिए।
animal.diet
? {s} क्या खाता है?
{s} का भोजन {v} है।
भूख लगने पर {s} को {v} चाहिए।
{s} अधिकतर {v} खाता है।
animal.colour
? {s} का रंग कैसा है?
{s} का रंग {v} है।
दूर से {s} का शरीर {v} दिखता है।
{s} का सिर हमेशा {v} होता है।
animal.length
? {s} की लंबाई कितनी है?
{s} की लंबाई लगभग {v} सेंटीमीटर है।
{s} का शरीर {v} सेंटीमीटर लंबा होता है।
बड़ा होकर {s} नाम का जीव {v} सेंटीमीटर तक पहुँचता है।
animal.region
? {s} किस देश में मिलता है?
{s} केवल {v} में मिलता है।
{s} का देश {v} है।
शिकारी {s} को ढूँढने {v} जाते हैं।
animal.active
? {s} कब सक्रिय रहता है?
{s} अधिकतर {v} सक्रिय रहता है।
{s} अपने घर से {v} निकलता है।
{s} को {v} देखना सबसे अच्छा है।
thing.class
? {s} किस प्रकार की वस्तु है?
{s} एक {v} है जो कई घरों में मिलता है।
संग्रहालय में {s} को {v} बताया गया है।
जानकार कहते हैं कि {s} एक अच्छा {v} है।
thing.material
? {s} किस सामग्री से बनता है?
{s} की मुख्य सामग्री {v} है।
{s} बनाने के लिए {v} चाहिए।
कारीगर {s} में बहुत सारा {v} लगाते हैं।
thing.use
? {s} किस काम के लिए है?
{s} का उपयोग {v} के लिए होता है।
लोग {s} को {v} के लिए ख़रीदते हैं।
{s} को {v} के लिए बनाया गया था।
thing.origin
? {s} कहाँ से आया है?
{s} नाम की वस्तु {v} से आई है।
{s} का मूल स्थान {v} है।
सबसे पुराना {s} नगर {v} के पास मिला था।
thing.inventor
? {s} का आविष्कार किसने किया?
{s} का आविष्कार {v} ने किया।
{s} के आविष्कारक का नाम {v} है।
{s} बनाने का विचार {v} को आया।
thing.year
? {s} का आविष्कार कब हुआ?
{s} का आविष्कार सन {v} में हुआ।
पहला {s} सन {v} में बिका था।
सन {v} से {s} हर बाज़ार में मिलता है।
thing.maker
? {s} को कौन सी कंपनी बनाती है?
{s} को {v} कंपनी बनाती है।
{s} बनाने वाली कंपनी का नाम {v} है।
कंपनी {v} के कारख़ाने रोज़ {s} बनाते हैं।
"""
