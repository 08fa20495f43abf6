-- Expiry may ask which questions are overdue; said by the function's owner, as giving a function away takes the former
-- owner's rights along.

set local role cs_system;
grant execute on function overdue_approvals() to cs_owner;
reset role;
