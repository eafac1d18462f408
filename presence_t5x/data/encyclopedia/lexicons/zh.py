"""Chinese: closed word lists, statements and questions; the format is described in `__init__`.

The spaces in the templates mark the word segmentation; the text itself is joined without them.
"""

LANGUAGE = "zh"
SCRIPT = "han"
SEPARATOR = ""

VALUES = """
place_kind: city=城市 | town=小镇 | village=村庄 | port=港口 | fortress=要塞 | resort=疗养地
climate: mild=温和 | dry=干燥 | wet=潮湿 | cold=寒冷 | hot=炎热 | windy=多风
product: wheat=小麦 | wool=羊毛 | wine=葡萄酒 | salt=食盐 | copper=铜矿 | honey=蜂蜜
product: silk=丝绸 | tea=茶叶 | cheese=奶酪 | glass=玻璃 | paper=纸张 | rice=大米
profession: doctor=医生 | teacher=教师 | painter=画家 | engineer=工程师
profession: writer=作家 | composer=作曲家 | judge=法官 | farmer=农民
profession: sailor=水手 | baker=面包师 | architect=建筑师 | pilot=飞行员
field: astronomy=天文学 | history=历史 | music=音乐 | mathematics=数学 | botany=植物学
field: medicine=医学 | law=法律 | chemistry=化学 | geography=地理 | philosophy=哲学
animal_class: bird=鸟类 | fish=鱼类 | mammal=哺乳动物 | reptile=爬行动物 | insect=昆虫
animal_class: amphibian=两栖动物
habitat: forests=森林 | mountains=高山 | deserts=沙漠 | rivers=河流 | lakes=湖泊
habitat: swamps=沼泽 | grasslands=草原 | caves=洞穴 | coasts=海岸 | islands=岛屿
diet: seeds=种子 | leaves=树叶 | insects=虫子 | fish=小鱼 | fruit=水果 | roots=树根
diet: grass=青草 | worms=蚯蚓 | mice=老鼠 | nectar=花蜜
colour: red=红色 | blue=蓝色 | green=绿色 | yellow=黄色 | white=白色 | black=黑色
colour: brown=棕色 | grey=灰色
active: day=白天 | night=夜间 | dawn=黎明 | dusk=黄昏
material: wood=木头 | iron=铁 | glass=玻璃 | clay=黏土 | leather=皮革 | silver=银
material: stone=石头 | bronze=青铜 | paper=纸 | cotton=棉花
use: cooking=烹饪 | writing=书写 | sewing=缝纫 | fishing=捕鱼 | hunting=打猎
use: building=建筑 | washing=洗涤 | measuring=测量 | painting=绘画 | weaving=织布
thing_class: tool=工具 | vessel=容器 | machine=机器 | vehicle=车辆 | toy=玩具 | lamp=灯具
"""

TEMPLATES = """
place.kind
? {s} 是 什么 样 的 地方？
{s} 是 一个 {v}， 每年 都 有 许多 旅客 来访。
在 大多数 地图 上， {s} 是 一个 {v}。
名叫 {s} 的 地方 是 一个 历史 悠久 的 {v}。
place.country
? {s} 在 哪个 国家？
{s} 位于 一个 叫做 {v} 的 国家。
{s} 所属 的 国家 是 {v}。
在 地图 上， {s} 就 在 {v} 的 中部。
place.river
? 哪条 河 流过 {s}？
流过 {s} 的 河 名叫 {v}。
{s} 建 在 {v} 河 的 岸边。
{s} 的 居民 从 {v} 河 中 取水。
place.climate
? {s} 的 气候 怎么样？
{s} 的 气候 十分 {v}。
在 {s}， 天气 通常 很 {v}。
游客 都 说 {s} 的 空气 全年 {v}。
place.product
? {s} 以 什么 闻名？
{s} 因为 出产 {v} 而 闻名。
{s} 最 重要 的 产品 是 {v}。
商人 来到 {s} 是 为了 购买 {v}。
place.founded
? {s} 建立 于 哪 一年？
{s} 建立 于 {v} 年。
{s} 的 历史 从 {v} 年 开始。
{s} 最早 的 房屋 是 {v} 年 修建 的。
place.population
? {s} 有 多少 人口？
大约 有 {v} 人 住 在 {s}。
{s} 的 人口 大约 是 {v} 人。
根据 最近 的 统计， {s} 有 {v} 名 居民。
person.profession
? {s} 的 职业 是 什么？
{s} 的 职业 是 {v}。
很多 人 都 知道 {s} 是 一位 优秀 的 {v}。
在 日常 生活 中， {s} 是 一名 {v}。
person.birthplace
? {s} 出生 在 哪里？
{s} 出生 在 {v}。
{s} 的 出生地 是 {v}。
{s} 的 家族 来自 遥远 的 {v}。
person.birth_year
? {s} 出生 于 哪 一年？
{s} 出生 于 {v} 年。
{s} 的 出生 年份 是 {v} 年。
{s} 的 人生 从 {v} 年 开始。
person.teacher
? {s} 的 老师 是 谁？
{s} 的 老师 是 {v}。
{s} 曾经 是 {v} 的 学生。
小时候 {s} 的 知识 都 来自 {v}。
person.residence
? {s} 住 在 哪里？
{s} 住 在 {v} 的 一座 小 房子 里。
{s} 的 家 就 在 {v}。
如今 {s} 的 住址 在 {v}。
person.field
? {s} 研究 什么？
{s} 怀着 很大 的 兴趣 研究 {v}。
{s} 最 喜欢 的 学科 是 {v}。
到了 晚上， {s} 总是 阅读 {v} 书籍。
person.employer
? {s} 在 哪家 公司 工作？
{s} 在 {v} 公司 工作。
{s} 的 雇主 是 {v} 公司。
多年 以来 {s} 的 办公室 都 在 {v}。
animal.class
? {s} 是 哪 一类 动物？
{s} 属于 {v}， 性情 安静。
每个 孩子 都 知道 {s} 属于 {v}。
有关 自然 的 书 上 说 {s} 是 一种 {v}。
animal.habitat
? {s} 生活 在 哪里？
{s} 生活 在 {v} 之中。
{s} 的 天然 家园 是 {v}。
想要 寻找 {s} 的 人 应该 去 {v}。
animal.diet
? {s} 吃 什么？
{s} 平时 吃 {v}。
{s} 的 食物 主要 是 {v}。
肚子 饿 的 时候， {s} 就 去 找 {v}。
animal.colour
? {s} 是 什么 颜色？
{s} 的 颜色 是 {v}。
从 远处 看， {s} 好像 是 {v} 的。
{s} 的 背部 几乎 总是 {v}。
animal.length
? {s} 有 多长？
{s} 的 长度 大约 是 {v} 厘米。
{s} 身长 可达 {v} 厘米。
一只 成年 的 {s} 长 {v} 厘米。
animal.region
? {s} 分布 在 哪个 国家？
{s} 只 分布 在 {v}。
{s} 生活 的 国家 是 {v}。
来自 {v} 的 猎人 很 熟悉 {s}。
animal.active
? {s} 什么 时候 活动？
{s} 通常 在 {v} 活动。
{s} 在 {v} 离开 自己 的 巢穴。
观察 {s} 的 最好 时间 是 {v}。
thing.class
? {s} 是 什么 样 的 物品？
{s} 是 一种 {v}， 在 许多 家庭 中 都 有。
博物馆 把 {s} 介绍 为 一种 {v}。
专家 都 说 {s} 是 一种 优质 的 {v}。
thing.material
? {s} 是 用 什么 做 的？
{s} 是 用 {v} 做 成 的。
{s} 的 主要 材料 是 {v}。
为了 制造 {s}， 工人 需要 很多 {v}。
thing.use
? {s} 有 什么 用途？
{s} 的 主要 用途 是 {v}。
人们 购买 {s} 是 因为 {v} 时 需要 它。
{s} 是 专门 为 {v} 设计 的。
thing.origin
? {s} 来自 哪里？
{s} 最初 来自 {v}。
{s} 的 原产地 是 {v}。
最 古老 的 {s} 是 在 {v} 附近 发现 的。
thing.inventor
? {s} 是 谁 发明 的？
{s} 是 由 {v} 发明 的。
{s} 的 发明者 是 {v}。
制造 {s} 的 想法 来自 {v}。
thing.year
? {s} 是 哪 一年 发明 的？
{s} 是 在 {v} 年 发明 的。
第一个 {s} 在 {v} 年 售出。
自从 {v} 年 以来 就 有 {s} 了。
thing.maker
? {s} 是 哪家 公司 制造 的？
{s} 是 由 {v} 公司 制造 的。
{s} 的 制造商 是 {v} 公司。
属于 {v} 的 工厂 每天 都 生产 {s}。
"""
