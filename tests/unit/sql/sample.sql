-- Queries for test_query; they never see a server.

-- name: all_types
-- doc: One column of each type,
-- doc: and each that can be NULL.
-- params: relid int8, names text[], wanted bool
-- returns: number int, big int8, word text, flag bool, size float8
-- returns: number2 int?, big2 int8?, word2 text?, flag2 bool?, size2 float8?
-- a comment that goes away
select c.number, c.big, c.word, c.flag, c.size
--@ >= 10       , c.number2
--@ <  10       , null::int
--@ >= 9.5 < 14 , c.big2
--@ < 9.5       , 0::int8
--@ >= 14       , c."big?""2\"
     , c.word2, c.flag2, c.size2 -- kept
  from things c
 where c.relid = $1 and c.name = any ($2::text[]) and c.flag = $3 and c.word <> 'costs $4';

-- name: no_params
-- returns: word text
select 'a'

-- name: forget
-- params: relid int8
delete from things where relid = $1

-- name: touch
select pg_notify('a', '')
