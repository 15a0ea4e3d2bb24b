-- Whether the CRM's own access token opens an account, and nothing that is kept. Before, it was taken for so where no
-- secret was kept: a secret that went missing would then have let a stranger's token be tried.
ALTER TABLE accounts ADD COLUMN by_client_token INTEGER NOT NULL DEFAULT 0;
ALTER TABLE swaps ADD COLUMN by_client_token INTEGER NOT NULL DEFAULT 0;

UPDATE accounts SET by_client_token = 1
WHERE removed_at IS NULL AND sealed_password IS NULL
  AND NOT EXISTS (SELECT 1 FROM grants g WHERE g.account_id = accounts.id);
UPDATE swaps SET by_client_token = 1
WHERE sealed_password IS NULL
  AND NOT EXISTS (SELECT 1 FROM swap_grants g WHERE g.account_id = swaps.account_id);
