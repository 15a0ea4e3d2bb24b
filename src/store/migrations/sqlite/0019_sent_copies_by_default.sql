-- Since a CRM's own copy is known for one, the bridge sees to Sent copies unless it is told not to. Until now nobody had
-- them but by asking, and `never` was what everyone had.
UPDATE accounts SET sent_copy = 'auto' WHERE sent_copy = 'never';
