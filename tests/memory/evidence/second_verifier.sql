-- A second verifier, written from docs/journal.md alone: it reads `export_lines (n, line)` and fills `problems (place, sentence)`.
-- Signatures are left out, since Postgres has no Ed25519; exports of one run and heads kept elsewhere, too.

create temp table problems (place jsonb, sentence text);

create function pg_temp.hash(p text) returns text language sql immutable
return encode(sha256(convert_to(p, 'UTF8')), 'hex');

-- The root of leaves, level by level: pairs become nodes, a last one without a partner goes up as it is.
create function pg_temp.root(p_leaves bytea[]) returns text language plpgsql immutable as $$
declare v bytea[]; v_up bytea[];
begin
  if cardinality(p_leaves) = 0 then return encode(sha256(''), 'hex'); end if;
  select array_agg(sha256('\x00'::bytea || l) order by o) into v from unnest(p_leaves) with ordinality as x (l, o);
  while cardinality(v) > 1 loop
    select array_agg(case when v[i + 1] is null then v[i] else sha256('\x01'::bytea || v[i] || v[i + 1]) end order by i)
      into v_up from generate_series(1, cardinality(v), 2) i;
    v := v_up;
  end loop;
  return encode(v[1], 'hex');
end $$;

create temp table lines as select n, line::jsonb as v, line::jsonb ->> 'line' as kind from export_lines;
create temp table header as select v ->> 'tenant' as tenant, (v ->> 'at')::timestamptz as at from lines where n = 1;
insert into problems select '{"line": 1}', 'no first line' from lines
 where n = 1 and (kind <> 'export' or v ->> 'version' <> '1');
insert into problems select jsonb_build_object('line', l.n), 'out of order'
  from (select *, max(array_position(array['export', 'key', 'leaf', 'head', 'text', 'chain', 'row', 'end'],
                                     replace(kind, 'entry', 'chain'))) over (order by n) as furthest,
               array_position(array['export', 'key', 'leaf', 'head', 'text', 'chain', 'row', 'end'],
                              replace(kind, 'entry', 'chain')) as rank from lines) l
 where l.rank is null or l.rank < l.furthest or (l.kind = 'export') <> (l.n = 1);
insert into problems select jsonb_build_object('line', max(n) + 1), 'no last line' from lines having not bool_or(kind = 'end');
insert into problems select jsonb_build_object('line', l.n), 'the end counts other lines' from lines l
 where l.kind = 'end' and (l.v ->> 'lines')::int <> l.n - 1 or l.n > (select min(n) from lines where kind = 'end');

-- Chains
create temp table chains as
select n, v ->> 'run' as run, (v ->> 'seq')::int as seq, v ->> 'head' as head, v -> 'spent' as spent,
       lag(v ->> 'run') over (order by n) as before from lines where kind = 'chain';
create temp table entries as
select l.n, v ->> 'run' as run, (v ->> 'seq')::int as seq, v ->> 'prev' as prev, v ->> 'hash' as hash, v ->> 'body' as body,
       v ->> 'words' as words, v ->> 'salt' as salt, row_number() over (partition by v ->> 'run' order by l.n)::int as place,
       (select c.run from chains c where c.n < l.n order by c.n desc limit 1) as chain
  from lines l where kind = 'entry';
create temp table links as
select e.*, body::jsonb as facts,
       coalesce(lag(hash) over w, pg_temp.hash('countersign journal ' || run)) as expected,
       encode(sha256(decode(prev, 'hex') || convert_to(run, 'UTF8') || int4send(seq) || convert_to(body, 'UTF8')), 'hex')
         as computed,
       encode(sha256(uuid_send(salt::uuid) || convert_to(words, 'UTF8')), 'hex') as seal
  from entries e window w as (partition by run order by n);

-- Breaks of chains: where they are, and at which entry one who reads on meets them (null: at the end of the chain).
create temp table breaks (run text, seq int, sentence text, met int);
insert into breaks select run, 1, 'the chain stands twice or too late', 0 from chains where run <= before collate "C";
insert into breaks select run, place, 'not the next entry of its chain', place from links
 where seq <> place or prev <> expected or hash <> computed or chain is distinct from run;
insert into breaks select run, place, 'words without their seal', place from links
 where (words is null) <> (salt is null) or words is not null and seal is distinct from facts ->> 'sealed';
insert into breaks select e.run, e.place, 'words are gone' from links e
 where e.words is null and e.facts ? 'sealed' and not exists (select from links f where f.run = e.run and f.place > e.place
   and f.facts ->> 'kind' = 'forgotten' and f.facts -> 'entries' @> to_jsonb(e.seq));
create temp table ends as
select c.*, coalesce(e.last, 0) as last, coalesce(e.hash, pg_temp.hash('countersign journal ' || c.run)) as hash,
       coalesce(e.spent, '[0, 0, 0, 0]') as said
  from chains c left join (select run, max(place) as last, (array_agg(hash order by place desc))[1] as hash,
    (array_agg(facts -> 'spent' order by place desc) filter (where facts ? 'spent'))[1] as spent from links group by run) e
    on e.run = c.run;
insert into breaks select run, 1, 'no row' from ends where seq is null;
insert into breaks select run, least(seq, last) + 1, 'the row ends elsewhere' from ends where seq <> last;
insert into breaks select run, last, 'the row has another hash' from ends where seq = last and head <> hash;
insert into breaks select run, greatest(last, 1), 'the row spent something else' from ends
 where seq = last and head = hash and spent <> said;
insert into breaks select e.run, e.place, 'a text is missing', e.place from links e
 cross join lateral (values ('cards'), ('policy')) k (kind)
 where e.facts ? 'cards' and e.facts ? k.kind and not exists (select from lines t where t.kind = 'text'
   and t.v ->> 'kind' = k.kind and t.v ->> 'hash' = e.facts ->> k.kind
   and pg_temp.hash(t.v ->> 'text') = e.facts ->> k.kind);
insert into problems select jsonb_build_object('hash', v ->> 'hash'), 'another text' from lines
 where kind = 'text' and v ->> 'hash' <> pg_temp.hash(v ->> 'text');

-- The log
create temp table leaves as
select (row_number() over (order by n))::int - 1 as place, (v ->> 'position')::int as position, v ->> 'text' as text,
       (v ->> 'text')::jsonb ->> 'run' as run, ((v ->> 'text')::jsonb ->> 'seq')::int as seq,
       (v ->> 'text')::jsonb ->> 'head' as head, (v ->> 'text')::jsonb ->> 'root' as root from lines where kind = 'leaf';
create temp table takes as
select f.*, coalesce(lag(seq) over (partition by run order by place), 0) as before,
       not exists (select from chains c where c.run = f.run) as vanished,
       (select max(e.place) from links e where e.run = f.run) as last,
       exists (select from links e where e.run = f.run and e.place = f.seq and e.hash = f.head)
       and pg_temp.root(array(select decode(e.hash, 'hex') from links e where e.run = f.run and e.place <= f.seq
                               order by e.place)) = root as agrees from leaves f;
insert into problems select jsonb_build_object('position', min(position)), 'a wrong leaf' from takes
 where position <> place or seq <= before having count(*) > 0;
insert into breaks select run, case when vanished then 1 when seq > last then last + 1 else before + 1 end,
       'not what the log took in', case when seq <= last then seq end from takes where not agrees and seq > before;
insert into breaks select e.run, e.place, 'old, and not in the log', e.place from links e, header h
 where (e.facts ->> 'at')::timestamptz not between h.at - interval '10 minutes' and h.at + interval '10 minutes'
   and e.place > coalesce((select max(seq) from takes t where t.run = e.run), 0);
insert into problems select distinct on (run) jsonb_build_object('run', run, 'seq', seq), sentence from breaks
 order by run, met nulls last, seq;

create temp table heads as
select (row_number() over (order by n))::int as place, (v ->> 'number')::int as number, v ->> 'text' as text, x.*,
       lag(size, 1, 0) over (order by n) as smaller, coalesce(pg_temp.hash(lag(v ->> 'text') over (order by n)), '') as before
  from lines, jsonb_to_record((v ->> 'text')::jsonb) as x (tenant text, size int, root text, previous text, at timestamptz)
 where kind = 'head';
insert into problems select jsonb_build_object('number', min(number)), 'a wrong head' from heads
 where number <> place or previous <> before or size <= smaller or size > (select count(*) from leaves)
    or tenant is distinct from (select h.tenant from header h) or at > (select h.at + interval '10 minutes' from header h)
    or root <> pg_temp.root(array(select convert_to(f.text, 'UTF8') from leaves f where f.place < size order by f.place))
having count(*) > 0;
insert into problems select jsonb_build_object('number', (select count(*) + 1 from heads)), 'no head over all leaves'
 where (select count(*) from leaves) <> coalesce((select size from heads order by place desc limit 1), 0)
   and not exists (select from problems where place ? 'number');

-- Rows
create temp table stamps as
select distinct on (s ->> 0, s ->> 1) s ->> 0 as tab, s ->> 1 as key, s ->> 3 as hash
  from links, jsonb_array_elements(words::jsonb -> 'rows') s order by s ->> 0, s ->> 1, (s ->> 2)::bigint desc;
create temp table rows as
select v ->> 'table' as tab, v ->> 'key' as key, v ->> 'text' as text, v ->> 'rows' as rows from lines where kind = 'row';
insert into problems select distinct jsonb_build_object('table', coalesce(s.tab, r.tab), 'key', coalesce(s.key, r.key)),
       'row and stamp differ' from stamps s full join rows r on (r.tab, r.key) = (s.tab, s.key)
 where pg_temp.hash(r.text) is distinct from s.hash or r.tab = 'results' and r.text::jsonb ->> 'digest' <> r.rows;
insert into problems select jsonb_build_object('table', tab, 'key', key), 'a row stands twice' from rows
 group by tab, key having count(*) > 1;
