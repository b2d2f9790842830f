// Wrong uses of the API, none of which may compile: each line that is not an error is one.

import createClient from "openapi-fetch";

import type { components, paths } from "./api.js";

type Schemas = components["schemas"];

const exchange = createClient<paths>({ baseUrl: "https://auction.example.com" });
const header = { "Idempotency-Key": "a" };
const params = { path: { id: "01935b2e-7c1a-7000-8000-000000000001" }, header };

const login = {
  response_type: "code",
  client_id: "hc_9Gm2qVTl0nQ3o7wZr5kXyA",
  redirect_uri: "https://shop.example.com/callback",
  code_challenge: "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM",
  code_challenge_method: "S256",
} as const;

declare const auction: Schemas["Auction"];
declare const bidding: Schemas["Bidding"];
declare const receipt: Schemas["Receipt"];
declare const problem: Schemas["Problem"];
declare const entry: Schemas["LogEntry"];
declare const frame: Schemas["AuctionFrame"];
declare const inbox: Schemas["InboxFrame"];
declare const message: Schemas["WebhookMessage"];
declare const notification: Schemas["Notification"];
declare const delivery: Schemas["WebhookDelivery"];
declare const readiness: Schemas["Readiness"];

export const misspelt = [
  // @ts-expect-error
  auction.status === "lvie",
  // @ts-expect-error
  auction.result === "bought",
  // @ts-expect-error
  auction.currency === "EUR",
  // @ts-expect-error
  auction.price.currency === "krw",
  // @ts-expect-error
  auction.increment.kind === "percent",
  // @ts-expect-error
  auction.soft_close?.mode === "restart",
  // @ts-expect-error
  bidding.status === "open",
  // @ts-expect-error
  receipt.outcome === "won",
  // @ts-expect-error
  problem.code === "bid_to_low",
  // @ts-expect-error
  entry.type === "bid.accepted",
  // @ts-expect-error
  frame.event === "bid_placed",
  // @ts-expect-error
  inbox.event === "out_bid",
  // @ts-expect-error
  message.type === "auction.ended",
  // @ts-expect-error
  notification.kind === "outbidden",
  // @ts-expect-error
  notification.data.result,
  // @ts-expect-error
  delivery.type === "bid.accepted",
  // @ts-expect-error
  readiness.status === "ok",
  // @ts-expect-error
  readiness.bus === "down",
];

export const unread = [
  // @ts-expect-error
  auction.minimum_next_bid.amount,
  // @ts-expect-error
  auction.reserve_price.amount,
  // @ts-expect-error
  auction.price + 1,
  // @ts-expect-error
  entry.data.winner,
  // @ts-expect-error
  frame.data.price,
  // @ts-expect-error
  message.data.price,
];

export const refused = () => [
  // @ts-expect-error
  exchange.POST("/v1/auctions/{id}/bids", { params, body: {} }),
  // @ts-expect-error
  exchange.POST("/v1/auctions/{id}/bids", { params, body: { amount: 1, max_amount: 2 } }),
  // @ts-expect-error
  exchange.POST("/v1/auctions/{id}/bids", { params, body: { amount: "15000" } }),
  // @ts-expect-error
  exchange.POST("/v1/auctions/{id}/bids", { params, body: { amount: { amount: 1, currency: "KRW" } } }),
  // @ts-expect-error
  exchange.POST("/v1/auctions/{id}/bids", { params: { path: params.path }, body: { amount: 1 } }),
  // @ts-expect-error
  exchange.POST("/v1/auctions/{id}/bids", { params }),
  // @ts-expect-error
  exchange.POST("/v1/auctions", { body: { title: "항아리", opening_price: 1 } }),
  // @ts-expect-error
  exchange.POST("/v1/me/notifications/read", { body: {} }),
  // @ts-expect-error
  exchange.POST("/v1/me/notifications/read", { body: { ids: [1], up_to: 2 } }),
  // @ts-expect-error
  exchange.POST("/v1/me/keyword-alerts", { body: {} }),
  // @ts-expect-error
  exchange.POST("/v1/clients/{id}/webhooks", { params, body: { url: "https://a.example", types: ["bid"] } }),
  // @ts-expect-error
  exchange.PUT("/v1/users/{id}/roles", { params, body: { roles: ["operator"] } }),
  // @ts-expect-error
  exchange.PATCH("/v1/auctions/{id}", { params: { path: params.path }, body: { title: "항아리" } }),
  // @ts-expect-error
  exchange.GET("/v1/auctions", { params: { query: { status: "open" } } }),
  // @ts-expect-error
  exchange.GET("/v1/auctions", { params: { query: { sort: "cheapest" } } }),
  // @ts-expect-error
  exchange.GET("/v1/auctions/{id}", { params: { path: { seq: 1 } } }),
  // @ts-expect-error
  exchange.DELETE("/v1/auctions/{id}", { params: { path: params.path } }),
  // @ts-expect-error
  exchange.GET("/problems/{code}", { params: { path: { code: "bid_to_low" } } }),
  // @ts-expect-error
  exchange.GET("/oauth/authorize", { params: { query: { ...login, response_type: "token" } } }),
  // @ts-expect-error
  exchange.GET("/oauth/authorize", { params: { query: { ...login, code_challenge_method: "plain" } } }),
  // @ts-expect-error
  exchange.GET("/oauth/authorize", { params: { query: { ...login, response_mode: "fragment" } } }),
  // @ts-expect-error
  exchange.GET("/v1/auction/{id}", { params: { path: params.path } }),
];

// openapi-fetch lets what it does not know pass; `satisfies` does not.
export const unknown = [
  // @ts-expect-error
  { title: "항아리", opening_prise: 1 } satisfies Schemas["AuctionChanges"],
  // @ts-expect-error
  { nickname: "소라", nick_name: "소라" } satisfies Schemas["MeChanges"],
  // @ts-expect-error
  { amount: 1, expected_sec: 2 } satisfies Schemas["NewBid"],
];

const bid = (bid: Schemas["NewBid"]) => bid;
export const bids = [
  // @ts-expect-error
  bid({}),
  // @ts-expect-error
  bid({ amount: 1, max_amount: 2 }),
  // @ts-expect-error
  bid({ amount: 1, maximum: 2 }),
  // @ts-expect-error
  bid({ amount: "15000" }),
];

const increment = (increment: Schemas["Increment"]) => increment;
export const increments = [
  // @ts-expect-error
  increment({ kind: "fixed" }),
  // @ts-expect-error
  increment({ kind: "fixed", basis_points: 500 }),
  // @ts-expect-error
  increment({ kind: "percent_of_opening", basis_points: 500, step: 1 }),
  // @ts-expect-error
  increment({ kind: "table" }),
  // @ts-expect-error
  increment({ kind: "table", table: "krw" }),
  // @ts-expect-error
  increment({ kind: "table", table: "won", rules: [{ below: null, step: 1 }] }),
];

const tokens = (request: Schemas["TokenRequest"]) => request;
const code = { code: "c", redirect_uri: login.redirect_uri };
export const grants = [
  // @ts-expect-error
  tokens({ grant_type: "authorization_code", ...code }),
  // @ts-expect-error
  tokens({ grant_type: "refresh_token", ...code, code_verifier: "v" }),
  // @ts-expect-error
  tokens({ grant_type: "authorization_code", refresh_token: "r" }),
  // @ts-expect-error
  tokens({ grant_type: "refresh_token", refresh_token: "r", client_id: null }),
  // @ts-expect-error
  tokens({ grant_type: "password", refresh_token: "r" }),
];
