-- What the exchange on this database uses, written when it starts: broadcasters beside it take it as
-- their default, and refuse to start on something else.
CREATE TABLE exchange_settings (
    only_row    boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    issuer      text    NOT NULL,
    -- NULL without a broker: events stay in the process.
    amqp_prefix text
);
