"""What is asked of both engines: one expression a line, and whole queries."""

# ruff: noqa: E501

EXPRESSIONS = r"""
cast('12.5' as int)
cast(' 7 ' as int)
try_cast('1e3' as int)
try_cast('9999999999' as int)
cast(12.999 as int)
cast(-12.999 as int)
cast('2013-2-3' as date)
try_cast('2013-02-30' as date)
try_cast('yesterday' as date)
cast('2013-03-10 02:30:00' as timestamp)
cast('2013-03-10T02:30:00Z' as timestamp)
cast('2013-03-10 02:30:00+02:00' as timestamp)
date_format(timestamp'2013-03-10 02:30:00.123456','yyyy-MM-dd HH:mm:ss.SSSSSS')
cast(timestamp'2013-03-10 02:30:00' as string)
cast(1.0E10 as string)
cast(cast(1e-7 as double) as string)
cast(cast(100 as double) as string)
cast(cast(1.1 as float) as string)
cast(true as string)
cast(date'2013-01-01' as string)
cast(cast(1.50 as decimal(10,2)) as string)
5 div 2
-5 div 2
5 % -3
-5 % 3
pmod(-5,3)
5/2
try_divide(1,0)
1.0/3
cast(1 as decimal(10,2))/3
cast(10.05 as decimal(10,2))*cast(2.5 as decimal(5,1))
round(2.5)
round(3.5)
round(-2.5)
bround(2.5)
round(1.005,2)
round(cast(2.345 as decimal(10,3)),2)
floor(-1.1)
ceil(-1.1)
greatest(1,null,3)
least(null,2)
coalesce(null,1)
nullif(1,1)
cast('NaN' as double)>1e308
cast('NaN' as double)=cast('NaN' as double)
greatest(cast('NaN' as double),1)
isnan(cast('NaN' as double))
concat('a',null)
concat_ws('-', 'a',null,'b')
length('ü€𝄞')
upper('straße')
lower('İ')
trim('  a ')
substring('hello',0,2)
substring('hello',-3,2)
substr('hello',2)
instr('hello','l')
split('a,b,,c',',')
split('a.b','\\.')
regexp_replace('a1b2','[0-9]+','#')
regexp_extract('2013-06-01.csv','(\\d{4})-(\\d{2})',2)
regexp_extract('x','(y)',1)
'abc' rlike '^a.c$'
'a\nb' rlike '^a.b$'
'abc' like 'a_c'
'a%c' like 'a\\%c'
lpad('7',3,'0')
rpad('ab',1,'x')
repeat('ab',0)
reverse('añ')
initcap('hello wORLD')
translate('abc','ab','x')
levenshtein('kitten','sitting')
soundex('Robert')
base64('abc')
hex('abc')
hex(255)
md5('abc')
sha2('abc',256)
crc32('abc')
xxhash64('abc')
xxhash64(1)
xxhash64(cast(1 as bigint))
xxhash64(1.5)
xxhash64(date'2013-01-01')
xxhash64(timestamp'2013-01-01 00:00:00')
xxhash64(true)
xxhash64(null)
xxhash64('a',null,1)
xxhash64(cast(1.50 as decimal(10,2)))
hash('abc')
hash(1)
date_add(date'2013-02-28',1)
date_sub(date'2013-03-01',1)
datediff(date'2013-03-01',date'2013-02-01')
dayofweek(date'2013-06-02')
weekday(date'2013-06-02')
weekofyear(date'2013-12-31')
dayofyear(date'2013-12-31')
last_day(date'2013-02-03')
add_months(date'2013-01-31',1)
months_between(date'2013-03-31',date'2013-02-28')
trunc(date'2013-06-15','MM')
date_trunc('WEEK',timestamp'2013-06-05 10:00:00')
date_trunc('hour',timestamp'2013-06-05 10:59:59')
to_date('05/06/2013','dd/MM/yyyy')
to_timestamp('05/06/2013 07:08','dd/MM/yyyy HH:mm')
unix_timestamp(timestamp'2013-06-05 00:00:00')
from_unixtime(0)
from_utc_timestamp(timestamp'2013-03-10 07:00:00','America/New_York')
to_utc_timestamp(timestamp'2013-03-10 02:30:00','America/New_York')
make_date(2013,2,28)
extract(year from date'2013-06-01')
hour(timestamp'2013-06-01 23:59:59')
timestamp'2013-06-01' - interval 1 day
date'2013-06-01' + interval 1 month
next_day(date'2013-06-01','MON')
quarter(date'2013-06-01')
array(1,2,null)
size(array(1,2))
size(null)
array_contains(array(1,null),2)
element_at(array(1,2),-1)
map('a',1)['a']
map('a',1)['b']
struct(1 as a,'x' as b)
named_struct('a',1).a
array_sort(array(3,1,null,2))
sort_array(array(3,1,null,2))
array_distinct(array(1,1,null,null))
transform(array(1,2),x->x+1)
filter(array(1,2,3),x->x>1)
aggregate(array(1,2,3),0,(a,x)->a+x)
array_join(array('a',null,'b'),',')
flatten(array(array(1),array(2)))
sequence(1,3)
sequence(date'2013-01-30',date'2013-02-01')
explode_outer(array(1))
if(null,1,2)
case when null then 1 else 2 end
nvl2(null,1,2)
null=null
null<=>null
1<=>null
1 in (2,null)
not (1 in (2,null))
try_add(2147483647,1)
2147483647+1
cast(2147483647 as int)+cast(1 as int)
abs(-5)
sign(-2.5)
sqrt(-1)
ln(0)
log10(0)
exp(1000)
power(2,0.5)
1e308*10
0.1+0.2
cast(0.1 as float)+cast(0.2 as float)
shiftleft(1,31)
1.0=1
'1'=1
'a'>'B'
'é'>'z'
conv('ff',16,10)
format_number(1234567.891,2)
bin(5)
ascii('ü')
char(252)
octet_length('ü')
bit_length('a')
overlay('abcdef' placing 'XX' from 3)
position('c' in 'abc')
substring_index('a.b.c','.',2)
to_json(struct(1 as a,null as b))
get_json_object('{"a":{"b":1}}','$.a.b')
from_json('{"a":1}','a int').a
stack(2,1,2)
""".strip().splitlines()

QUERIES = r"""
select sum(x),avg(x),min(x),max(x),count(x),count(*),stddev(x),var_pop(x),percentile(x,0.5),median(x),collect_list(x),any_value(x) from (values (1),(2),(null),(4)) t(x)
select percentile_approx(x,0.5), approx_count_distinct(x), count(distinct x), mode(x) from (values (1),(2),(2),(4)) t(x)
select sum(x) from (values (cast(0.1 as double)),(0.2),(0.3)) t(x)
select sum(x), avg(x) from (values (cast(1.10 as decimal(10,2))),(2.25)) t(x)
select x, row_number() over (order by x) r, lag(x) over (order by x) l, sum(x) over (order by x rows between 1 preceding and current row) s from (values (3),(1),(null),(2)) t(x) order by r
select x from (values (cast('NaN' as double)),(1.0),(null),(cast('-Infinity' as double)),(-0.0),(0.0)) t(x) order by x
select x from (values (cast('NaN' as double)),(1.0),(null)) t(x) order by x desc
select distinct x from (values (cast(0.0 as double)),(cast(-0.0 as double)),(cast('NaN' as double)),(cast('NaN' as double))) t(x) order by 1
select a.x from (values (1),(null)) a(x) join (values (1),(null)) b(x) on a.x=b.x
select a.x from (values (1),(null)) a(x) left anti join (values (1)) b(x) on a.x=b.x
select * from (values (1)) a(x) full outer join (values (2)) b(y) on a.x=b.y order by 1,2
select count_if(x>1), max_by(y,x), bool_and(x>0), bit_or(x), skewness(x), corr(x,x) from (values (1,'a'),(2,'b')) t(x,y)
select grouping(x), x, sum(y) from (values ('a',1),('b',2)) t(x,y) group by rollup(x) order by 1,2
select x, x from (values (1)) t(x) union select 1,1
select x from (values (1),(1),(2)) t(x) except all select 1
select sum(x) from (values (cast(9223372036854775807 as bigint)),(1)) t(x)
""".strip().splitlines()

# From public reports about Sail and DataFusion (lakehq/sail#728, 1261, 1341, 1348; apache/datafusion#25471), and what is
# near to them.
REPORTED = r"""
select max_by(n, a) from values ('x', cast(null as int)), ('y', cast(null as int)) as t(n, a)
select n, max_by(n, a) over (order by a rows between unbounded preceding and current row) as r from values ('A', 30), ('B', 50), ('C', 40) as t(n, a)
select skewness(c) from values (-10.0D), (-20.0D), (100.0D), (1000.0D) as t(c)
select kurtosis(c) from values (1.0D), (10.0D), (100.0D), (10.0D), (1.0D) as t(c)
with a as (select 1 as x), a as (select 2 as x) select * from a
select percentile(x, 0.7) over () from values (1.0D), (2.0D), (3.0D), (4.0D) as t(x)
select id, lead(v, 2) ignore nulls over (order by id) as l from values (1,10),(2,20),(3,30),(4,40),(5,null),(6,null),(7,70),(8,80),(9,null) as t(id,v)
select datediff(day, date'2013-01-01', date'2013-03-01')
select date_format(timestamp'2013-01-01 01:02:03.456', 'HH:mm:ss.SSS')
select date_format(timestamp'2013-01-01 01:02:03.456', 'SSS')
select unix_timestamp(timestamp'2013-01-01 00:00:00')
select typeof(timestamp'2013-01-01 00:00:00')
select max(a), b from values (1, 'x') as t(a, b)
select sum(v) over (order by id range between 2 preceding and current row) as s from values (1, 1), (2, 2), (4, 4), (null, 8) as t(id, v)
select first(v, true), last(v, true), any_value(v) from values (cast(null as int)), (1) as t(v)
select collect_list(v) from values (1), (null), (2) as t(v)
select cast(cast('5' as double) as int), try_cast('abc' as double)
select mode(v) from values (1), (1), (2) as t(v)
select corr(a, b) from values (1.0D, 2.0D), (2.0D, 4.0D), (3.0D, 6.5D) as t(a, b)
select 1 in (null, 2), 1 not in (null, 2)
select sum(x) from (select cast(null as int) as x)
select count(distinct a, b) from values (1, null), (1, 2), (1, 2) as t(a, b)
select greatest(1, null), least(null, 2), greatest(double('NaN'), 1.0D)
select double('NaN') = double('NaN'), double('NaN') > 1e300D, -0.0D = 0.0D
select round(-2.5), round(2.5), round(25, -1), floor(-1.5), ceil(-1.5), -7 % 3, pmod(-7, 3), -7 div 2
select substring('abc', 0, 2), substring('abc', -2, 1), left('abc', 5), split('a,b,,', ','), concat_ws(',', 'a', null, 'b'), concat('a', null)
select lpad('abc', 2, 'x'), trim('  a '), instr('abc', 'z'), locate('b', 'abc', 3), initcap('aB cD'), upper('straße')
select add_months(date'2013-01-31', 1), last_day(date'2013-02-03'), date_trunc('week', timestamp'2013-06-02 10:00:00'), months_between(date'2013-03-31', date'2013-02-28'), next_day(date'2013-06-02', 'MON')
select hour(timestamp'2013-01-01 23:59:59.999'), minute(timestamp'2013-01-01 23:59:59.999'), second(timestamp'2013-01-01 23:59:59.999'), weekofyear(date'2012-12-31'), dayofyear(date'2012-12-31'), quarter(date'2012-12-31')
select cast('1e3' as int), cast(' 12 ' as int), cast('12.7' as int), cast('' as int)
select cast('abc' as double)
select cast('inf' as double)
select cast('true' as boolean), cast('t' as boolean)
select cast('2013-1-5' as date), cast(12.9D as int), cast(-12.9D as int)
""".strip().splitlines()
