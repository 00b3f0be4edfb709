-- the head of the file goes away

-- script: control
-- doc: Our own objects.
create schema pgtandem;

create function pgtandem.f() returns trigger language plpgsql as $$
begin
    -- why this is so
--@ >= 10    perform new_way();
--@ < 10     perform old_way();
    return null;
end $$;
