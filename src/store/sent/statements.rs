//! The statements by which a message finds its row among those of its account, or gets one.
//!
//! Which row is its own is decided within one statement each, so that two bridges on one database cannot both find none.

/// Joins a message that is sent to an earlier try of which nobody knows the end, else to the copy that the CRM gave before.
/// `$1` account, `$2` Message-ID, `$3` digest, `$4` Date, `$5` now, `$6` Unix seconds from which what is alike may be, `$7`
/// due, `$8` how far Dates may differ, `$9` digest of the recipients, `$10` Unix seconds from which a Message-ID is known,
/// `$11` what is known of its sending, `$12` digest of its octets. The client of one that is queued hears by another row.
pub(in crate::store) const SEND_JOINS: &str =
    "UPDATE sent SET began_at = $5, due_at = $7, claimed_until = 0, envelope = $9, tries = 0,
        copy_id = CASE WHEN message_id = $2 THEN copy_id ELSE COALESCE(message_id, copy_id) END, message_id = $2,
        doubted = CASE WHEN sending = 'uncertain' THEN 1 ELSE doubted END, sending = $11,
        told = CASE WHEN $11 = 'queued' THEN 1 ELSE 0 END, sent_content = $12
    WHERE id = (SELECT id FROM sent WHERE account_id = $1 AND alone = 0 AND (
            (sending = 'uncertain' AND message_id = $2 AND envelope = $9 AND began_at >= $10)
            OR (sending = 'none' AND message_id = $2 AND began_at >= $10)
            OR (sending = 'none' AND alike = $3 AND ABS(dated - $4) <= $8 AND began_at >= $6))
        ORDER BY CASE WHEN sending = 'uncertain' THEN 0 WHEN message_id = $2 THEN 1 ELSE 2 END, began_at DESC LIMIT 1)
    RETURNING id, file, filed_at, uid_validity, uid, due_at";
pub(in crate::store) const SEND: &str =
    "INSERT INTO sent (account_id, sending, message_id, alike, dated, began_at, file, octets, files, due_at,
        envelope, told, sent_content)
    VALUES ($1, $11, $2, $3, $4, $5, $6, $7, $8, $9, $10, CASE WHEN $11 = 'queued' THEN 1 ELSE 0 END, $12)
    RETURNING id";
pub(in crate::store) const GIVE_FILE: &str = "UPDATE sent SET file = $2, octets = $3 WHERE id = $1";
pub(super) const UNDER_WAY: &str =
    "SELECT COUNT(*) FROM sent WHERE account_id = $1 AND message_id = $2 AND envelope = $3
    AND sending = 'marked' AND began_at >= $4";
/// Joins a CRM's copy to what was sent and has none yet: by its Message-ID, else to the oldest that is alike.
pub(super) const COPY_JOINS: &str =
    "UPDATE sent SET copied = 1, content = $8, copy_id = CASE WHEN message_id = $2 THEN copy_id ELSE $2 END
    WHERE id = (SELECT id FROM sent WHERE account_id = $1 AND copied = 0
        AND ((message_id = $2 AND began_at >= $5) OR (alike = $3 AND ABS(dated - $4) <= $7 AND began_at >= $6))
        ORDER BY CASE WHEN message_id = $2 THEN 0 ELSE 1 END, began_at LIMIT 1)
    RETURNING id, file, filed_at, uid_validity, uid, due_at";
/// What was sent is kept beside it: the provider may refuse what the CRM wrote.
pub(super) const TAKE_COPY: &str = "UPDATE sent SET fallback = file, fallback_octets = octets, file = $2, octets = $3, flags = $4,
        seen = $5, internal_date = $6, due_at = CASE WHEN $7 IS NULL OR sending IN ('queued', 'marked') THEN due_at ELSE $7 END
    WHERE id = $1";
pub(super) const COPY: &str =
    "INSERT INTO sent (account_id, sending, message_id, alike, dated, began_at, file, octets, files, due_at,
        flags, seen, internal_date, copied, content, alone)
    VALUES ($1, 'none', $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, 1, $13,
        CASE WHEN EXISTS (SELECT 1 FROM sent WHERE account_id = $1 AND (message_id = $2 OR copy_id = $2) AND copied = 1
            AND content <> $13 AND began_at >= $14)
            AND NOT EXISTS (SELECT 1 FROM sent WHERE account_id = $1 AND (message_id = $2 OR copy_id = $2)
                AND content = $13 AND began_at >= $14) THEN 1 ELSE 0 END)
    RETURNING id";
