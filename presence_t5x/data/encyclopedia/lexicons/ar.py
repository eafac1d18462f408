"""Arabic: closed word lists, statements and questions; the format is described in `__init__`.

Sentences about people are nominal, so that no verb depends on the gender of a person.
"""

LANGUAGE = "ar"
SCRIPT = "arabic"
SEPARATOR = " "

VALUES = """
place_kind: city=مدينة | town=بلدة | village=قرية | port=ميناء | fortress=قلعة | resort=منتجع
climate: mild=معتدل | dry=جاف | wet=رطب | cold=بارد | hot=حار | windy=عاصف
product: wheat=القمح | wool=الصوف | wine=النبيذ | salt=الملح | copper=النحاس | honey=العسل
product: silk=الحرير | tea=الشاي | cheese=الجبن | glass=الزجاج | paper=الورق | rice=الأرز
profession: doctor=الطب | teacher=التعليم | painter=الرسم | engineer=الهندسة
profession: writer=الكتابة | composer=التلحين | judge=القضاء | farmer=الزراعة
profession: sailor=الملاحة | baker=الخبازة | architect=العمارة | pilot=الطيران
field: astronomy=الفلك | history=التاريخ | music=الموسيقى | mathematics=الرياضيات | botany=النبات
field: medicine=الطب | law=القانون | chemistry=الكيمياء | geography=الجغرافيا | philosophy=الفلسفة
animal_class: bird=الطيور | fish=الأسماك | mammal=الثدييات | reptile=الزواحف | insect=الحشرات
animal_class: amphibian=البرمائيات
habitat: forests=الغابات | mountains=الجبال | deserts=الصحارى | rivers=الأنهار | lakes=البحيرات
habitat: swamps=المستنقعات | grasslands=السهول | caves=الكهوف | coasts=السواحل | islands=الجزر
diet: seeds=البذور | leaves=الأوراق | insects=الحشرات | fish=السمك | fruit=الفواكه | roots=الجذور
diet: grass=العشب | worms=الديدان | mice=الفئران | nectar=الرحيق
colour: red=أحمر | blue=أزرق | green=أخضر | yellow=أصفر | white=أبيض | black=أسود
colour: brown=بني | grey=رمادي
active: day=نهاراً | night=ليلاً | dawn=فجراً | dusk=مساءً
material: wood=الخشب | iron=الحديد | glass=الزجاج | clay=الطين | leather=الجلد | silver=الفضة
material: stone=الحجر | bronze=البرونز | paper=الورق | cotton=القطن
use: cooking=الطبخ | writing=الكتابة | sewing=الخياطة | fishing=صيد السمك | hunting=القنص
use: building=البناء | washing=الغسيل | measuring=القياس | painting=الرسم | weaving=النسيج
thing_class: tool=الأدوات | vessel=الأوعية | machine=الآلات | vehicle=المركبات | toy=الألعاب
thing_class: lamp=المصابيح
"""

TEMPLATES = """
place.kind
? ما نوع المكان المسمى {s}؟
{s} هي {v} على طريق كثير من المسافرين.
تظهر {s} على معظم الخرائط وهي {v}.
المكان المسمى {s} هو {v} وله تاريخ طويل.
place.country
? في أي بلد تقع {s}؟
تقع {s} في بلد يسمى {v}.
البلد الذي تنتمي إليه {s} هو {v}.
على الخريطة تقع {s} في وسط {v}.
place.river
? ما النهر الذي يمر عبر {s}؟
النهر الذي يمر عبر {s} هو {v}.
بنيت {s} على ضفاف نهر {v}.
يأخذ سكان {s} الماء من نهر {v}.
place.climate
? كيف هو مناخ {s}؟
مناخ {s} هو مناخ {v}.
الطقس في {s} عادة {v}.
يقول الزوار إن هواء {s} دائماً {v}.
place.product
? ما أهم منتج في {s}؟
أهم منتج في {s} هو {v}.
تشتهر {s} بمنتج واحد هو {v}.
يأتي التجار إلى {s} كي يشتروا {v}.
place.founded
? متى تأسست {s}؟
تأسست {s} في عام {v}.
يبدأ تاريخ {s} في عام {v}.
بنيت أول بيوت {s} في عام {v}.
place.population
? كم شخصاً يسكن في {s}؟
يسكن في {s} نحو {v} شخص.
عدد سكان {s} هو نحو {v} نسمة.
حسب آخر إحصاء يوجد في {s} نحو {v} ساكن.
person.profession
? ما مهنة {s}؟
مهنة {s} هي {v}.
يعرف الناس أن عمل {s} هو {v}.
في الحياة اليومية مهنة {s} الوحيدة هي {v}.
person.birthplace
? أين كانت ولادة {s}؟
كانت ولادة {s} في {v}.
مكان ولادة {s} هو {v}.
عائلة {s} أصلها من {v}.
person.birth_year
? متى كانت ولادة {s}؟
كانت ولادة {s} في عام {v}.
سنة ميلاد {s} هي {v}.
بدأت حياة {s} في عام {v}.
person.teacher
? من علم {s}؟
الشخص الذي علم {s} هو {v}.
كانت دراسة {s} على يد {v}.
في الطفولة جاءت معرفة {s} كلها من {v}.
person.residence
? أين بيت {s}؟
بيت {s} الصغير يقع في {v}.
مكان إقامة {s} هو {v}.
عنوان {s} اليوم في {v}.
person.field
? ما المادة المفضلة عند {s}؟
المادة المفضلة عند {s} هي {v}.
يدور اهتمام {s} الكبير حول {v}.
الكتب التي في بيت {s} عن {v}.
person.employer
? في أي شركة مكان عمل {s}؟
مكان عمل {s} هو شركة {v}.
يأتي راتب {s} من شركة {v}.
منذ سنوات كثيرة مكتب {s} موجود في {v}.
animal.class
? إلى أي نوع من الحيوان ينتمي {s}؟
ينتمي {s} إلى {v} وطبعه هادئ.
يعرف كل طفل أن {s} من {v}.
تقول كتب الطبيعة إن {s} نوع من {v}.
animal.habitat
? أين يعيش {s}؟
يعيش {s} في {v}.
الموطن الطبيعي لحيوان {s} هو {v}.
من يبحث عن {s} يجده في {v}.
animal.diet
? ماذا يأكل {s}؟
يأكل {s} عادة {v}.
طعام {s} الرئيسي هو {v}.
عندما يجوع {s} يبحث عن {v}.
animal.colour
? ما لون {s}؟
لون {s} هو {v}.
يبدو لون {s} من بعيد {v}.
ظهر {s} دائماً تقريباً {v}.
animal.length
? كم طول {s}؟
طول {s} نحو {v} سنتيمتر.
يبلغ طول {s} البالغ {v} سنتيمتر.
يصل {s} إلى طول {v} سنتيمتر.
animal.region
? في أي بلد يوجد {s}؟
يوجد {s} فقط في {v}.
البلد الذي يعيش فيه {s} هو {v}.
يعرف الصيادون في {v} حيوان {s} جيداً.
animal.active
? متى ينشط {s}؟
ينشط {s} عادة {v}.
يخرج {s} من بيته {v}.
من الأفضل مراقبة {s} {v}.
thing.class
? إلى أي نوع من الأشياء ينتمي {s}؟
ينتمي {s} إلى {v} الموجودة في كثير من البيوت.
يعرض المتحف {s} مع {v}.
يقول الخبراء إن {s} من {v} عالية الجودة.
thing.material
? من أي مادة يصنع {s}؟
يصنع {s} من {v}.
المادة الرئيسية في {s} هي {v}.
يحتاج العمال من أجل صنع {s} إلى {v}.
thing.use
? في أي عمل يستخدم {s}؟
يستخدم {s} في {v}.
يشتري الناس {s} من أجل {v}.
الغرض من {s} هو {v}.
thing.origin
? من أين جاء {s}؟
جاء {s} أصلاً من {v}.
مكان نشأة {s} هو {v}.
وجد أقدم {s} في مكان قريب من {v}.
thing.inventor
? من اخترع {s}؟
الشخص الذي اخترع {s} هو {v}.
كان اختراع {s} على يد {v}.
جاءت فكرة {s} من {v}.
thing.year
? متى اخترع {s}؟
اخترع {s} في عام {v}.
بيع أول {s} في عام {v}.
يوجد {s} في السوق منذ {v}.
thing.maker
? ما الشركة التي تصنع {s}؟
الشركة التي تصنع {s} هي {v}.
يصنع {s} في شركة {v}.
تنتج مصانع {v} عدداً من {s} كل يوم.
"""
